/* Ask a server the same thing many times over one connection, and print the ticks of the processor's counter meanwhile.
 *
 * Runs in a guest of the lab (ticks.py). It stands on system calls alone, without a C library, so that the count does not
 * depend on which one the machine has that compiles it. Compiled with ADDRESS and PORT, as numbers.
 * Arguments: a name, the number of requests. Standard input: the request, whole. Output: "headrace ticks NAME TOTAL".
 * Ends with another code than 0 when an answer differs in status or length from the first one.
 */
enum { READ = 0, WRITE = 1, SOCKET = 41, CONNECT = 42, EXIT = 60 };
enum { WARM = 50, STATUS_BYTES = 12, BUFFER_BYTES = 1 << 20 };
static char buffer[BUFFER_BYTES], request[4096], status[STATUS_BYTES];

static long call(long number, long a, const void *b, long c) {
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
}

static void end(int code) {
    for (;;)
        call(EXIT, code, 0, 0);
}

static unsigned long ticks(void) {
    unsigned low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (unsigned long)high << 32 | low;
}

static long number(const char *text) {
    long value = 0;
    while (*text >= '0' && *text <= '9')
        value = value * 10 + *text++ - '0';
    return value;
}

static int begins(const char *text, const char *with) {
    while (*with && *text == *with)
        text++, with++;
    return !*with;
}

static long receive(int server, long room) {
    long got = call(READ, server, buffer, room < BUFFER_BYTES ? room : BUFFER_BYTES);
    if (got <= 0)
        end(3);
    return got;
}

/* Length of the first answer, head and body. */
static long first(int server) {
    long got = 0, body = -1, at = 0;
    while (!begins(buffer + at, "\r\n\r\n")) {
        if (at < got) {
            if (begins(buffer + at, "Content-Length: "))
                body = number(buffer + at + 16);
            at++;
            continue;
        }
        long more = call(READ, server, buffer + got, BUFFER_BYTES / 2 - got);
        if (more <= 0)
            end(4);
        got += more;
        at = at > 32 ? at - 32 : 0; /* what was cut is looked at again */
    }
    if (body < 0)
        end(5);
    for (int i = 0; i < STATUS_BYTES; i++)
        status[i] = buffer[i];
    long length = at + 4 + body;
    while (got < length)
        got += receive(server, length - got);
    return length;
}

static void exchange(int server, long asked, long length) {
    if (call(WRITE, server, request, asked) != asked)
        end(6);
    for (long got = 0; got < length;) {
        long more = receive(server, length - got);
        for (int i = 0; got == 0 && i < STATUS_BYTES; i++)
            if (more < STATUS_BYTES || buffer[i] != status[i])
                end(7);
        got += more;
    }
}

static void print(const char *name, unsigned long total) {
    char line[200], digits[24];
    int at = 0, count = 0;
    for (const char *text = "headrace ticks "; *text; text++)
        line[at++] = *text;
    while (*name && at < 100)
        line[at++] = *name++;
    line[at++] = ' ';
    do
        digits[count++] = '0' + total % 10;
    while (total /= 10);
    while (count)
        line[at++] = digits[--count];
    line[at++] = '\n';
    call(WRITE, 1, line, at);
}

void run(long *stack) {
    if (stack[0] != 3)
        end(2);
    struct { unsigned short family, port; unsigned address; char zero[8]; } where = {
        2, __builtin_bswap16(PORT), __builtin_bswap32(ADDRESS), {0}};
    long asked = call(READ, 0, request, sizeof request);
    int server = call(SOCKET, 2, (void *)1, 0);
    if (asked <= 0 || call(CONNECT, server, &where, sizeof where) || call(WRITE, server, request, asked) != asked)
        end(8);
    long length = first(server);
    for (int i = 1; i < WARM; i++)
        exchange(server, asked, length);
    unsigned long begun = ticks();
    for (long left = number((char *)stack[3]); left > 0; left--)
        exchange(server, asked, length);
    print((char *)stack[2], ticks() - begun);
    end(0);
}

__asm__(".globl _start\n_start: mov %rsp, %rdi\n and $-16, %rsp\n call run\n");
