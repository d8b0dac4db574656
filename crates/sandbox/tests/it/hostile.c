// Programs of which somebody takes an image, and who would rather have more: each by its name. They say `ready` on
// descriptor 4 and wait for a byte on 3, unless waiting is what they do not do.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

// Whatever of this works, a sandbox has a hole.
static void try_all(void) {
    int works = unshare(CLONE_NEWUSER) == 0 || unshare(CLONE_NEWNS) == 0 || unshare(CLONE_NEWNET) == 0 ||
                mount("x", "/tmp", "tmpfs", 0, NULL) == 0 || setns(open("/proc/1/ns/mnt", O_RDONLY), 0) == 0 ||
                setns(open("/proc/self/ns/user", O_RDONLY), CLONE_NEWUSER) == 0 || chroot("/tmp") == 0 ||
                syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0) >= 0;
    char line[256];
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status)) {
        unsigned long long held;
        if (!strncmp(line, "Cap", 3) && sscanf(strchr(line, ':') + 1, "%llx", &held) == 1 && held) works = 1;
    }
    if (status) fclose(status);
    if (works) write(4, "ESCAPED\n", 8);
    syscall(SYS_close_range, 5, 1000, 0);
}
static void *spin(void *_) { for (;;) try_all(); }
static void caught(int _) { try_all(); }
// Of the image, in a clone: it makes that larger than any image is when it is asked.
static char *grows;
static void wait_for_ever(void) {
    char byte;
    write(4, "ready\n", 6);
    for (;;) if (read(3, &byte, 1) == 1) { try_all(); write(4, grows && mremap(grows, 4096, 1ul << 30, MREMAP_MAYMOVE) == MAP_FAILED ? "lost\n" : "fine\n", 5); }
}

// One set of descriptors that waits on thousands: each of many under each of a few numbers.
static void watch_thousands(void) {
    int set = epoll_create1(0), counters[200];
    for (int n = 0; n < 200; n++) counters[n] = eventfd(0, 0);
    for (int number = 220; number < 240; number++) for (int n = 0; n < 200; n++) { dup2(counters[n], number); epoll_ctl(set, EPOLL_CTL_ADD, number, &(struct epoll_event){EPOLLIN}); }
}

static void *waits(void *_) { for (;;) pause(); }
static int apart(void *_) { for (;;) syscall(SYS_pause); }
static void *bears(void *_) { if (!fork()) for (;;) pause(); for (;;) pause(); }

int main(int argc, char **argv) {
    const char *is = argv[1];
    struct itimerval soon = {{0, 1000}, {0, 1000}};
    try_all();
    for (int signal = 1; signal < 32; signal++) signal == SIGCHLD ? 0 : sigaction(signal, &(struct sigaction){.sa_handler = caught}, NULL);
    if (!strcmp(is, "threads")) for (int n = 0; n < 8; n++) { pthread_t one; pthread_create(&one, NULL, spin, NULL); }
    if (!strcmp(is, "children")) for (int n = 0; n < 4; n++) if (!fork()) spin(NULL);
    if (!strcmp(is, "shared-with-child")) if (!syscall(SYS_clone, CLONE_VM | SIGCHLD, (char *)mmap(0, 65536, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) + 65536, 0, 0, 0)) for (;;) syscall(SYS_sched_yield);
    if (!strcmp(is, "bomb")) for (int n = 0; n < 200; n++) if (!fork()) { usleep(n * 100); _exit(0); }
    if (!strcmp(is, "timer")) setitimer(ITIMER_REAL, &soon, NULL);
    if (!strcmp(is, "shared")) mmap(NULL, 4096, 3, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (!strcmp(is, "memfd")) { int fd = memfd_create("vdso", 0); ftruncate(fd, 4096); mmap(NULL, 4096, 1, MAP_PRIVATE, fd, 0); close(fd); }
    if (!strcmp(is, "file")) symlink("/", "/tmp/link");
    if (!strcmp(is, "open")) open("/dev/null", O_RDONLY);
    if (!strcmp(is, "pipe")) { int both[2]; pipe(both); }
    if (!strcmp(is, "half-a-pipe")) { int both[2]; pipe(both); close(both[1]); }
    if (!strcmp(is, "full-pipe")) { int both[2]; pipe(both); write(both[1], memset(malloc(4096), 1, 4096), 4096); }
    if (!strcmp(is, "pipe-twice")) { int both[2]; pipe(both); dup(both[0]); }
    if (!strcmp(is, "counter-twice")) dup(eventfd(7, 0));
    if (!strcmp(is, "waits-on-closed")) { int both[2], set = epoll_create1(0); pipe(both); epoll_ctl(set, EPOLL_CTL_ADD, both[0], &(struct epoll_event){EPOLLIN}); dup(both[0]); close(both[0]); open("/dev/null", O_RDONLY); }
    if (!strcmp(is, "waits-on-thousands")) watch_thousands();
    if (!strcmp(is, "named-as-image")) { int fd = memfd_create("image", 0); ftruncate(fd, 1l << 45); mmap(NULL, 1ul << 45, 3, MAP_PRIVATE | MAP_NORESERVE, fd, 0); close(fd); }
    if (!strcmp(is, "grows-image")) { int fd = open("/var/task/hostile", O_RDONLY); grows = mmap(NULL, 4096, 3, MAP_PRIVATE, fd, 0); grows[0] = 1; close(fd); }
    if (!strcmp(is, "memory")) memfd_create("/var/task/hostile", 0);
    if (!strcmp(is, "writes")) dup2(open("/proc/self/comm", O_RDWR), 9);
    if (!strcmp(is, "twice")) dup(open("/var/task/hostile", O_RDONLY));
    if (!strcmp(is, "apart")) clone(apart, (char *)mmap(0, 65536, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) + 65536, CLONE_VM | CLONE_FS | CLONE_SIGHAND | CLONE_THREAD, NULL);
    if (!strcmp(is, "thread-with-child")) { pthread_t one; pthread_create(&one, NULL, bears, NULL); usleep(20000); }
    if (!strcmp(is, "many-threads")) for (int n = 0; n < 300; n++) { pthread_t one; pthread_create(&one, NULL, waits, NULL); }
    if (!strcmp(is, "far-numbers")) { pthread_t one; for (int n = 0; n < 2500; n++) { int status; pid_t child = vfork(); if (!child) _exit(0); waitpid(child, &status, 0); } pthread_create(&one, NULL, waits, NULL); }
    if (!strcmp(is, "pending")) { sigset_t set; sigemptyset(&set); sigaddset(&set, SIGUSR1); sigprocmask(SIG_BLOCK, &set, NULL); raise(SIGUSR1); }
    if (!strcmp(is, "headless")) { pthread_t one; pthread_create(&one, NULL, (void *(*)(void *))wait_for_ever, NULL); pthread_exit(NULL); }
    if (!strcmp(is, "high")) dup2(3, 400);
    if (!strcmp(is, "many")) for (int n = 0; n < 30000; n++) mmap(NULL, 4096, n & 1 ? 1 : 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!strcmp(is, "vast")) for (int n = 0; n < 60; n++) mmap(NULL, 1ull << 40, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (!strcmp(is, "low")) mmap((void *)0x20000, 65536, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (!strcmp(is, "sparse")) { char *all = mmap(NULL, 4ull << 30, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0); madvise(all, 4ull << 30, MADV_NOHUGEPAGE); for (int n = 0; n < 30000; n++) all[n * 5ull * 4096] = 1; }
    if (!strcmp(is, "clockless")) {
        FILE *maps = fopen("/proc/self/maps", "r");
        char line[256]; unsigned long from, to;
        while (fgets(line, sizeof line, maps)) if ((strstr(line, "[vdso]") || strstr(line, "[vvar")) && sscanf(line, "%lx-%lx", &from, &to) == 2) munmap((void *)from, to - from);
        fclose(maps);
    }
    if (!strcmp(is, "far")) {
        FILE *maps = fopen("/proc/self/maps", "r");
        char line[256]; unsigned long from, to;
        while (fgets(line, sizeof line, maps)) if (strstr(line, "[vdso]") && sscanf(line, "%lx-%lx", &from, &to) == 2) mremap((void *)from, to - from, to - from, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)0x10000000);
        fclose(maps);
    }
    if (!strcmp(is, "code")) {
        // Waits by an instruction that it wrote itself.
        unsigned char code[] = {0x48, 0xc7, 0xc0, 0, 0, 0, 0, 0x48, 0xc7, 0xc7, 3, 0, 0, 0, 0x48, 0xc7, 0xc2, 1, 0, 0, 0, 0x0f, 0x05, 0xc3};
        unsigned char *page = mmap(NULL, 4096, 7, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        memcpy(page, code, sizeof code);
        char byte;
        write(4, "ready\n", 6);
        for (;;) { long got; asm volatile("call *%1" : "=a"(got) : "r"(page), "S"(&byte) : "rdi", "rdx", "rcx", "r11", "memory"); if (got == 1) { try_all(); write(4, "fine\n", 5); } }
    }
    // Nobody stops who waits for a child with its memory: only death ends that.
    if (!strcmp(is, "stuck")) { write(4, "ready\n", 6); if (!vfork()) for (;;) pause(); }
    if (!strcmp(is, "spin")) { write(4, "ready\n", 6); spin(NULL); }
    if (!strcmp(is, "dying")) { write(4, "ready\n", 6); usleep(argc > 2 ? 2000 : 0); _exit(3); }
    if (!strcmp(is, "no-stack")) {
        write(4, "ready\n", 6);
        char *there = mmap(NULL, 8192, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        asm volatile("mov $0, %%rsp; 1: mov $0, %%eax; mov $3, %%edi; mov %0, %%rsi; mov $1, %%edx; syscall; jmp 1b" :: "r"(there));
    }
    wait_for_ever();
}
