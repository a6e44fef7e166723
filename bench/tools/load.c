/* A closed-loop keepalive HTTP/1.1 client that costs as little as it can.
 *
 *     load ADDRESS PORT CONNECTIONS WARM_S SECONDS REQUESTS clear|tls [LIMIT]
 *
 * REQUESTS is a file of lines `PATH FIRST LAST` (a byte range, both inclusive) or `PATH - LENGTH` (the whole file).
 * They are sent in turn over all connections, one at a time on each. Clear bodies are dropped inside the kernel
 * (MSG_TRUNC), TLS bodies are decrypted and dropped. An answer counts only with status 206 (200 for a whole file) and
 * the expected length; one that differs ends the run with exit code 3. A server may end a connection between two
 * answers (nginx does after 1000 requests): the client comes back, as a player would.
 *
 * Prints `start` after WARM_S seconds, then, after SECONDS more (or LIMIT requests), one JSON line. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEAD_BYTES = 8192, SINK_BYTES = 1 << 20, READS_IN_A_ROW = 4, EVENTS = 256 };
enum { BUCKETS_PER_S = 100000, BUCKETS = 5 * BUCKETS_PER_S }; /* latency in steps of 10 us up to 5 s */

struct line {
    char *text; /* the whole request */
    size_t text_bytes;
    long long expected;
    const char *status;
};

struct connection {
    int fd;
    SSL *tls;
    const struct line *line;
    long long left; /* of the body; -1: still reading the head */
    size_t held;
    long answered; /* since it was opened */
    double since;
    char head[HEAD_BYTES + 1];
};

static struct line *lines;
static size_t line_count, next_line;
static unsigned latencies[BUCKETS];
static long long answers, bytes, reopened;
static char *sink;
static struct sockaddr_in server;
static SSL_CTX *context; /* NULL: clear */
static int poll_fd;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void refuse(const char *why, const struct connection *connection)
{
    fprintf(stderr, "%s\nrequest:\n%sanswer:\n%.*s\n", why, connection->line->text, (int)connection->held,
            connection->head);
    exit(3);
}

static double now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec * 1e-9;
}

static void read_lines(const char *path, const char *host)
{
    char *text = NULL, name[256], first[32];
    size_t room = 0;
    long long last;
    FILE *in = fopen(path, "r");
    if (!in)
        die(path);
    while (getline(&text, &room, in) > 0) {
        if (sscanf(text, "%255s %31s %lld", name, first, &last) != 3) {
            fprintf(stderr, "%s: not `PATH FIRST LAST`: %s\n", path, text);
            exit(2);
        }
        struct line line = {.status = first[0] == '-' ? " 200 " : " 206 "};
        line.expected = first[0] == '-' ? last : last + 1 - atoll(first);
        char range[96] = "";
        if (first[0] != '-')
            snprintf(range, sizeof range, "Range: bytes=%s-%lld\r\n", first, last);
        int length = asprintf(&line.text, "GET %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", name, host, range);
        lines = realloc(lines, (line_count + 1) * sizeof *lines);
        if (length < 0 || !lines)
            die("malloc");
        line.text_bytes = (size_t)length;
        lines[line_count++] = line;
    }
    free(text);
    fclose(in);
    if (!line_count) {
        fprintf(stderr, "%s: no requests\n", path);
        exit(2);
    }
}

static void open_connection(struct connection *connection)
{
    int on = 1;
    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection->fd < 0 || connect(connection->fd, (const struct sockaddr *)&server, sizeof server))
        die("connect");
    setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (context) {
        connection->tls = SSL_new(context);
        SSL_set_fd(connection->tls, connection->fd);
        if (SSL_connect(connection->tls) != 1) {
            ERR_print_errors_fp(stderr);
            exit(3);
        }
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    if (fcntl(connection->fd, F_SETFL, O_NONBLOCK) || epoll_ctl(poll_fd, EPOLL_CTL_ADD, connection->fd, &event))
        die("epoll_ctl");
    connection->answered = 0;
}

/* Send the current request; 0 when the server has gone. */
static int send_request(struct connection *connection)
{
    const struct line *line = connection->line;
    connection->left = -1;
    connection->held = 0;
    long sent = connection->tls ? SSL_write(connection->tls, line->text, (int)line->text_bytes)
                                : send(connection->fd, line->text, line->text_bytes, MSG_NOSIGNAL);
    return sent == (long)line->text_bytes;
}

/* The server has ended a connection: right between two answers, wrong anywhere else. */
static void come_back(struct connection *connection)
{
    if (connection->left >= 0 || connection->held || !connection->answered)
        refuse("the server ended a connection", connection);
    SSL_free(connection->tls);
    close(connection->fd);
    open_connection(connection);
    reopened++;
    if (!send_request(connection))
        refuse("could not send a request", connection);
}

static void ask(struct connection *connection)
{
    connection->line = &lines[next_line++ % line_count];
    connection->since = now();
    if (!send_request(connection))
        come_back(connection);
}

/* Read at most `room` bytes into `to`. >0: that many, 0: nothing more now, -1: the connection was opened anew. */
static long take(struct connection *connection, char *to, size_t room, int flags)
{
    long got = connection->tls ? SSL_read(connection->tls, to, (int)room) : recv(connection->fd, to, room, flags);
    if (got > 0)
        return got;
    if (connection->tls ? SSL_get_error(connection->tls, (int)got) == SSL_ERROR_WANT_READ
                        : got < 0 && errno == EAGAIN)
        return 0;
    come_back(connection);
    return -1;
}

static void finish(struct connection *connection)
{
    double bucket = (now() - connection->since) * BUCKETS_PER_S;
    latencies[bucket < BUCKETS ? (int)bucket : BUCKETS - 1]++;
    answers++;
    connection->answered++;
    ask(connection);
}

/* Read the head and what came with it of the body. 0 when there is nothing more to read now. */
static int read_head(struct connection *connection)
{
    long got = take(connection, connection->head + connection->held, HEAD_BYTES - connection->held, 0);
    if (got <= 0)
        return 0;
    bytes += got;
    connection->held += (size_t)got;
    connection->head[connection->held] = 0;
    char *end = strstr(connection->head, "\r\n\r\n");
    if (!end)
        return connection->held < HEAD_BYTES ? 1 : (refuse("an answer's head is too long", connection), 0);
    char *length = strcasestr(connection->head, "\ncontent-length:");
    if (strncmp(connection->head + 8, connection->line->status, 5))
        refuse("unexpected status", connection);
    if (!length || length > end || atoll(length + 16) != connection->line->expected)
        refuse("unexpected length", connection);
    connection->left = connection->line->expected - (long long)(connection->held - (size_t)(end + 4 - connection->head));
    if (!connection->left)
        finish(connection);
    return 1;
}

static int read_body(struct connection *connection)
{
    size_t room = connection->left < SINK_BYTES ? (size_t)connection->left : SINK_BYTES;
    long got = take(connection, sink, room, MSG_TRUNC);
    if (got <= 0)
        return 0;
    bytes += got;
    connection->left -= got;
    if (!connection->left)
        finish(connection);
    return 1;
}

/* TLS may hold decrypted bytes that epoll does not see, so it is read until it is empty. */
static void serve(struct connection *connection)
{
    for (int i = 0; connection->tls || i < READS_IN_A_ROW; i++)
        if (!(connection->left < 0 ? read_head(connection) : read_body(connection)))
            return;
}

static SSL_CTX *tls_context(void)
{
    SSL_CTX *made = SSL_CTX_new(TLS_client_method());
    if (!made || SSL_CTX_set_ciphersuites(made, "TLS_AES_128_GCM_SHA256") != 1)
        exit(1);
    SSL_CTX_set_min_proto_version(made, TLS1_3_VERSION);
    SSL_CTX_set_read_ahead(made, 1);
    SSL_CTX_set_default_read_buffer_len(made, 256 << 10);
    return made;
}

static double latency_ms(double share)
{
    long long below = 0;
    for (int bucket = 0; bucket < BUCKETS; bucket++)
        if ((below += latencies[bucket]) >= (long long)((double)answers * share))
            return bucket * 1000.0 / BUCKETS_PER_S;
    return 0;
}

static void run_for(double seconds, long long most)
{
    struct epoll_event events[EVENTS];
    for (double until = now() + seconds; now() < until && answers < most;) {
        int ready = epoll_wait(poll_fd, events, EVENTS, 100);
        if (ready < 0 && errno != EINTR)
            die("epoll_wait");
        for (int i = 0; i < ready; i++)
            serve(events[i].data.ptr);
    }
}

int main(int count, char **words)
{
    if (count < 8 || count > 9) {
        fprintf(stderr, "usage: %s ADDRESS PORT CONNECTIONS WARM_S SECONDS REQUESTS clear|tls [LIMIT]\n", words[0]);
        return 2;
    }
    size_t connections = (size_t)atol(words[3]);
    long long most = count == 9 ? atoll(words[8]) : 1LL << 60;
    struct connection *all = calloc(connections, sizeof *all);
    sink = malloc(SINK_BYTES);
    server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(words[2]))};
    if (inet_pton(AF_INET, words[1], &server.sin_addr) != 1 || !all || !sink)
        die(words[1]);
    read_lines(words[6], words[1]);
    context = strcmp(words[7], "tls") ? NULL : tls_context();
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    for (size_t i = 0; i < connections; i++)
        open_connection(&all[i]);
    for (size_t i = 0; i < connections; i++)
        ask(&all[i]);
    run_for(atof(words[4]), most);
    printf("start\n");
    fflush(stdout);
    answers = bytes = reopened = 0;
    memset(latencies, 0, sizeof latencies);
    double began = now();
    run_for(atof(words[5]), most);
    printf("{\"requests\": %lld, \"bytes\": %lld, \"reopened\": %lld, \"seconds\": %.5f, \"p50_ms\": %.2f, \"p99_ms\": %.2f}\n", answers,
           bytes, reopened, now() - began, latency_ms(0.50), latency_ms(0.99));
    return 0;
}
