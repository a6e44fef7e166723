/* The physical limit of TLS delivery with OpenSSL in user space: one thread, epoll, keepalive, TLS 1.3, no log.
 *
 *     tls_loop ADDRESS PORT DOCROOT CERTIFICATE KEY BATCH_BYTES
 *
 * Bodies are encrypted straight from the mapped file. BATCH_BYTES 0: each record is one write() of OpenSSL's own;
 * else records are gathered up to that many bytes and go out in one send(). */
#define _GNU_SOURCE
#include "request.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

enum { RECORD_BYTES = 16384, RECORD_EXTRA = 256 };

struct connection {
    int fd, is_waiting, is_open; /* open: the handshake is done */
    SSL *tls;
    size_t held;                         /* bytes of the request so far */
    size_t head_left, head_done;         /* of the head, when it goes out by itself or with a small body */
    char *out;                           /* gathered records */
    size_t out_from, out_to;             /* the part of `out` not yet sent */
    struct request request;
    char in[REQUEST_BYTES];
    char head[RECORD_BYTES];
};

static int poll_fd;
static size_t batch_bytes;
static SSL_CTX *context;
static BIO_METHOD *gather;

static int gather_write(BIO *bio, const char *bytes, int length)
{
    struct connection *connection = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (connection->out_to + (size_t)length > batch_bytes + RECORD_BYTES + RECORD_EXTRA) {
        BIO_set_retry_write(bio);
        return -1;
    }
    memcpy(connection->out + connection->out_to, bytes, (size_t)length);
    connection->out_to += (size_t)length;
    return length;
}

static long gather_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)bio, (void)number, (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

static void end(struct connection *connection)
{
    SSL_free(connection->tls);
    close(connection->fd);
    free(connection->out);
    free(connection);
}

static int wait_for(struct connection *connection, int room)
{
    if (connection->is_waiting != room)
        watch(poll_fd, EPOLL_CTL_MOD, connection->fd, room ? EPOLLOUT : EPOLLIN, connection);
    connection->is_waiting = room;
    return 0;
}

/* Send gathered records. 1: all sent, 0: the socket is full, -1: the client is gone. */
static int flush_out(struct connection *connection)
{
    while (connection->out_from < connection->out_to) {
        ssize_t sent = send(connection->fd, connection->out + connection->out_from,
                            connection->out_to - connection->out_from, MSG_NOSIGNAL);
        if (sent < 0)
            return errno == EAGAIN ? 0 : -1;
        connection->out_from += (size_t)sent;
    }
    connection->out_from = connection->out_to = 0;
    return 1;
}

/* Encrypt some bytes. >0: that many, 0: the socket is full, -1: broken. */
static int encrypt(struct connection *connection, const char *bytes, size_t length)
{
    int done = SSL_write(connection->tls, bytes, (int)(length < RECORD_BYTES ? length : RECORD_BYTES));
    if (done > 0)
        return done;
    return SSL_get_error(connection->tls, done) == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

/* Encrypt and send what is left of the answer. 0: done or waiting for room, -1: broken. */
static int send_answer(struct connection *connection)
{
    struct request *request = &connection->request;
    while (connection->head_left || request->first < request->end) {
        if (batch_bytes && connection->out_to >= batch_bytes) {
            int state = flush_out(connection);
            if (state <= 0)
                return state < 0 ? -1 : wait_for(connection, 1);
        }
        const char *bytes = connection->head_left ? connection->head + connection->head_done
                                                  : request->file->bytes + request->first;
        size_t length = connection->head_left ? connection->head_left : (size_t)(request->end - request->first);
        int done = encrypt(connection, bytes, length);
        if (done <= 0)
            return done < 0 ? -1 : wait_for(connection, 1);
        if (connection->head_left) {
            connection->head_left -= (size_t)done;
            connection->head_done += (size_t)done;
        } else {
            request->first += done;
        }
    }
    if (batch_bytes) {
        int state = flush_out(connection);
        if (state <= 0)
            return state < 0 ? -1 : wait_for(connection, 1);
    }
    return wait_for(connection, 0);
}

/* Head and start of the body share the first record: one record fewer for each answer. */
static void start_answer(struct connection *connection)
{
    struct request *request = &connection->request;
    size_t length = (size_t)write_head(connection->head, request);
    size_t body = (size_t)(request->end - request->first);
    if (body > sizeof connection->head - length)
        body = sizeof connection->head - length;
    memcpy(connection->head + length, request->file->bytes + request->first, body);
    request->first += (off_t)body;
    connection->head_left = length + body;
    connection->head_done = 0;
}

/* 1: the connection is open, 0: waiting for the client, -1: refused. */
static int shake_hands(struct connection *connection)
{
    int done = SSL_accept(connection->tls);
    int is_waiting = done != 1 && SSL_get_error(connection->tls, done) == SSL_ERROR_WANT_READ;
    if (batch_bytes && flush_out(connection) < 0)
        return -1;
    connection->is_open = done == 1;
    return done == 1 ? 1 : is_waiting ? 0 : -1;
}

static int answer(struct connection *connection)
{
    int state = connection->is_open ? 1 : shake_hands(connection);
    if (state != 1)
        return state;
    int got = SSL_read(connection->tls, connection->in + connection->held,
                       (int)(sizeof connection->in - 1 - connection->held));
    if (got <= 0)
        return SSL_get_error(connection->tls, got) == SSL_ERROR_WANT_READ ? 0 : -1;
    connection->held += (size_t)got;
    connection->in[connection->held] = 0;
    if (!strstr(connection->in, "\r\n\r\n"))
        return connection->held < sizeof connection->in - 1 ? 0 : -1;
    connection->held = 0;
    if (read_request(connection->in, &connection->request))
        return -1;
    start_answer(connection);
    return send_answer(connection);
}

static void open_connection(int fd)
{
    int on = 1;
    struct connection *connection = calloc(1, sizeof *connection);
    if (!connection)
        die("calloc");
    connection->fd = fd;
    connection->tls = SSL_new(context);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (batch_bytes) {
        connection->out = malloc(batch_bytes + RECORD_BYTES + RECORD_EXTRA);
        BIO *writer = BIO_new(gather);
        if (!connection->out || !writer)
            die("malloc");
        BIO_set_data(writer, connection);
        BIO_set_init(writer, 1);
        SSL_set0_wbio(connection->tls, writer);
        SSL_set0_rbio(connection->tls, BIO_new_socket(fd, BIO_NOCLOSE));
    } else {
        SSL_set_fd(connection->tls, fd);
    }
    watch(poll_fd, EPOLL_CTL_ADD, fd, EPOLLIN, connection);
}

static void set_up_tls(const char *certificate, const char *key)
{
    context = SSL_CTX_new(TLS_server_method());
    if (!context || SSL_CTX_use_certificate_chain_file(context, certificate) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1) {
        ERR_print_errors_fp(stderr);
        exit(1);
    }
    SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    gather = BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "gather");
    BIO_meth_set_write(gather, gather_write);
    BIO_meth_set_ctrl(gather, gather_ctrl);
}

int main(int count, char **words)
{
    if (count != 7) {
        fprintf(stderr, "usage: %s ADDRESS PORT DOCROOT CERTIFICATE KEY BATCH_BYTES\n", words[0]);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    batch_bytes = (size_t)atol(words[6]);
    set_up_tls(words[4], words[5]);
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
            int fd;
            if (!connection) {
                while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
                    open_connection(fd);
            } else if ((connection->is_waiting ? send_answer(connection) : answer(connection)) < 0) {
                end(connection);
            }
        }
    }
}
