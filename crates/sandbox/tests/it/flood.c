// Sends datagrams of one byte as fast as it can for some milliseconds, to one port or to all in turn; writes how many
// the kernel took and in how many microseconds.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

static long long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

int main(int count, char **words) {
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9) };
    inet_pton(AF_INET, words[1], &to.sin_addr);
    int is_spread = !strcmp(words[2], "spread"), s = socket(AF_INET, SOCK_DGRAM, 0);
    long long begin = now(), end = begin + atoi(words[3]) * 1000LL, sent = 0, tried = 0;
    while (now() < end) {
        for (int burst = 0; burst < 100; burst++) {
            if (is_spread) to.sin_port = htons(1 + tried % 60000);
            sent += sendto(s, "x", 1, 0, (void *)&to, sizeof to) == 1;
            tried++;
        }
    }
    printf("%lld %lld %lld\n", tried, sent, now() - begin);
    return 0;
}
