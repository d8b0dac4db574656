// Tries to reach addresses, all at once. Reads `tcp|udp|icmp ADDRESS PORT` a line from standard input, IPv6 in its own
// spelling; writes the lines that answered within a second and a half.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 900 };
static struct { char line[128]; int is_tcp; } targets[MOST];
static struct pollfd polled[MOST];

static int begin(const char *kind, char *text, int port) {
    struct sockaddr_storage to;
    memset(&to, 0, sizeof to);
    socklen_t length;
    char *scope = strchr(text, '%');
    if (strchr(text, ':')) {
        struct sockaddr_in6 *six = (void *)&to;
        if (scope) { *scope = 0; six->sin6_scope_id = if_nametoindex(scope + 1); }
        six->sin6_family = AF_INET6;
        six->sin6_port = htons(port);
        inet_pton(AF_INET6, text, &six->sin6_addr);
        length = sizeof *six;
    } else {
        struct sockaddr_in *four = (void *)&to;
        four->sin_family = AF_INET;
        four->sin_port = htons(port);
        inet_pton(AF_INET, text, &four->sin_addr);
        length = sizeof *four;
    }
    if (scope) *scope = '%';
    int is_tcp = !strcmp(kind, "tcp"), is_icmp = !strcmp(kind, "icmp");
    int s = socket(to.ss_family, (is_tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK, is_icmp ? IPPROTO_ICMP : 0);
    if (s < 0 && is_icmp) s = socket(AF_INET, SOCK_RAW | SOCK_NONBLOCK, IPPROTO_ICMP);
    if (s < 0) return -1;
    if (connect(s, (void *)&to, length) < 0 && errno != EINPROGRESS) { close(s); return -1; }
    struct icmphdr echo = { .type = ICMP_ECHO, .checksum = htons(~(ICMP_ECHO << 8)) };
    if (is_icmp) send(s, &echo, sizeof echo, 0);
    else if (!is_tcp) send(s, "x", 1, 0);
    return s;
}

int main(void) {
    int count = 0, open = 0;
    char kind[8], address[64];
    int port;
    while (count < MOST && scanf("%7s %63s %d", kind, address, &port) == 3) {
        snprintf(targets[count].line, sizeof targets[count].line, "%s %s %d", kind, address, port);
        targets[count].is_tcp = !strcmp(kind, "tcp");
        polled[count].fd = begin(kind, address, port);
        polled[count].events = targets[count].is_tcp ? POLLOUT : POLLIN;
        open += polled[count].fd >= 0;
        count++;
    }
    struct timespec now, end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_nsec += 500000000;
    end.tv_sec += 1;
    while (open) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        int left = (end.tv_sec - now.tv_sec) * 1000 + (end.tv_nsec - now.tv_nsec) / 1000000;
        if (left <= 0 || poll(polled, count, left) <= 0) break;
        for (int at = 0; at < count; at++) {
            if (polled[at].fd < 0 || !polled[at].revents) continue;
            int failed = 0;
            socklen_t length = sizeof failed;
            getsockopt(polled[at].fd, SOL_SOCKET, SO_ERROR, &failed, &length);
            char answer[64];
            if (!failed && (targets[at].is_tcp || recv(polled[at].fd, answer, sizeof answer, 0) > 0)) puts(targets[at].line);
            close(polled[at].fd);
            polled[at].fd = -1;
            open--;
        }
    }
    puts("done");
    return 0;
}
