/* The physical limit of clear delivery: one thread, epoll, keepalive, sendfile from the page cache, no log.
 *
 *     sendfile_loop ADDRESS PORT DOCROOT */
#define _GNU_SOURCE
#include "request.h"

#include <sys/sendfile.h>

struct connection {
    int fd, is_waiting; /* waiting: for room in the socket */
    size_t held;        /* bytes of the request so far */
    struct request request;
    char in[REQUEST_BYTES];
};

static int poll_fd;

static void end(struct connection *connection)
{
    close(connection->fd);
    free(connection);
}

/* Send what is left. 0: done or waiting for room, -1: the client is gone. */
static int send_body(struct connection *connection)
{
    struct request *request = &connection->request;
    while (request->first < request->end) {
        ssize_t sent = sendfile(connection->fd, request->file->fd, &request->first,
                                (size_t)(request->end - request->first));
        if (sent > 0)
            continue;
        if (sent == 0 || errno != EAGAIN)
            return -1;
        if (!connection->is_waiting)
            watch(poll_fd, EPOLL_CTL_MOD, connection->fd, EPOLLOUT, connection);
        connection->is_waiting = 1;
        return 0;
    }
    if (connection->is_waiting)
        watch(poll_fd, EPOLL_CTL_MOD, connection->fd, EPOLLIN, connection);
    connection->is_waiting = 0;
    return 0;
}

static int answer(struct connection *connection)
{
    ssize_t got = recv(connection->fd, connection->in + connection->held, sizeof connection->in - 1 - connection->held, 0);
    if (got <= 0)
        return got < 0 && errno == EAGAIN ? 0 : -1;
    connection->held += (size_t)got;
    connection->in[connection->held] = 0;
    if (!strstr(connection->in, "\r\n\r\n"))
        return connection->held < sizeof connection->in - 1 ? 0 : -1;
    connection->held = 0;
    if (read_request(connection->in, &connection->request))
        return -1;
    char head[HEAD_BYTES];
    int length = write_head(head, &connection->request);
    if (send(connection->fd, head, (size_t)length, MSG_MORE) != length)
        return -1;
    return send_body(connection);
}

static void accept_all(int listener)
{
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct connection *connection = calloc(1, sizeof *connection);
        if (!connection)
            die("calloc");
        connection->fd = fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        watch(poll_fd, EPOLL_CTL_ADD, fd, EPOLLIN, connection);
    }
}

int main(int count, char **words)
{
    if (count != 4) {
        fprintf(stderr, "usage: %s ADDRESS PORT DOCROOT\n", words[0]);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    if (chdir(words[3]))
        die(words[3]);
    int listener = listen_at(words[1], words[2]);
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    watch(poll_fd, EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
    struct epoll_event events[EVENTS];
    for (;;) {
        int ready = epoll_wait(poll_fd, events, EVENTS, -1);
        if (ready < 0 && errno != EINTR)
            die("epoll_wait");
        for (int i = 0; i < ready; i++) {
            struct connection *connection = events[i].data.ptr;
            if (!connection)
                accept_all(listener);
            else if ((connection->is_waiting ? send_body(connection) : answer(connection)) < 0)
                end(connection);
        }
    }
}
