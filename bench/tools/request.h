/* What the two bare servers share: a table of open files, the reading of a request, the head of an answer.
 *
 * They understand exactly what a player of one-file-per-rendition video sends: GET of a path, with or without one
 * `Range: bytes=FIRST-LAST`. Anything else ends the connection; these are physical limits, not web servers. */
#ifndef HEADRACE_BENCH_REQUEST_H
#define HEADRACE_BENCH_REQUEST_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILES_MAX = 4096, PATH_BYTES = 160, REQUEST_BYTES = 4096, HEAD_BYTES = 320, BACKLOG = 511, EVENTS = 256 };

struct file {
    char path[PATH_BYTES]; /* as asked, with the leading slash; empty: a free place */
    int fd;
    off_t size;
    const char *bytes; /* the whole file, mapped */
};

struct request {
    const struct file *file;
    off_t first, end; /* half open */
    int is_range;
};

static struct file files[FILES_MAX];

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* The open file of `path`, opened at its first use; NULL when there is none. The docroot is the working folder. */
static const struct file *find_file(const char *path)
{
    unsigned slot = 5381;
    for (const char *c = path; *c; c++)
        slot = slot * 33 ^ (unsigned char)*c;
    for (unsigned tries = 0; tries < FILES_MAX; tries++) {
        struct file *file = &files[(slot + tries) % FILES_MAX];
        if (!strcmp(file->path, path))
            return file;
        if (file->path[0])
            continue;
        struct stat facts;
        if (path[0] != '/' || strlen(path) >= PATH_BYTES || strstr(path, ".."))
            return NULL;
        int fd = open(path + 1, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            return NULL;
        if (fstat(fd, &facts) || !S_ISREG(facts.st_mode) || facts.st_size == 0) {
            close(fd);
            return NULL;
        }
        void *bytes = mmap(NULL, (size_t)facts.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (bytes == MAP_FAILED)
            die("mmap");
        strcpy(file->path, path);
        file->fd = fd;
        file->size = facts.st_size;
        file->bytes = bytes;
        return file;
    }
    return NULL;
}

/* Read one whole request head (ends in an empty line; is changed). 0 when understood, -1 when not. */
static int read_request(char *head, struct request *request)
{
    if (strncmp(head, "GET ", 4))
        return -1;
    char *path = head + 4, *space = strchr(path, ' ');
    if (!space)
        return -1;
    const char *range = strcasestr(space, "\nRange: bytes=");
    *space = 0;
    request->file = find_file(path);
    if (!request->file)
        return -1;
    request->first = 0;
    request->end = request->file->size;
    request->is_range = range != NULL;
    if (range) {
        long long first, last;
        if (sscanf(range + 14, "%lld-%lld", &first, &last) != 2 || first < 0 || last < first ||
            first >= request->file->size)
            return -1;
        request->first = first;
        if (last + 1 < request->end)
            request->end = last + 1;
    }
    return 0;
}

/* Write the head of the answer into `out` (HEAD_BYTES); its length. */
static int write_head(char *out, const struct request *request)
{
    long long length = request->end - request->first;
    if (!request->is_range)
        return snprintf(out, HEAD_BYTES,
                        "HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: %lld\r\n"
                        "Cache-Control: max-age=31536000\r\n\r\n",
                        length);
    return snprintf(out, HEAD_BYTES,
                    "HTTP/1.1 206 Partial Content\r\nContent-Type: video/mp4\r\nContent-Length: %lld\r\n"
                    "Content-Range: bytes %lld-%lld/%lld\r\nCache-Control: max-age=31536000\r\n\r\n",
                    length, (long long)request->first, (long long)request->end - 1, (long long)request->file->size);
}

/* A listening socket at address:port, not blocking. */
static int listen_at(const char *address, const char *port)
{
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port))};
    if (fd < 0)
        die("socket");
    if (inet_pton(AF_INET, address, &at.sin_addr) != 1) {
        fprintf(stderr, "not an IPv4 address: %s\n", address);
        exit(1);
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, BACKLOG))
        die("bind");
    return fd;
}

static void watch(int poll_fd, int how, int fd, unsigned events, void *what)
{
    struct epoll_event event = {.events = events, .data.ptr = what};
    if (epoll_ctl(poll_fd, how, fd, &event))
        die("epoll_ctl");
}

#endif
