// A program of several threads of which somebody takes an image. It says `ready` on descriptor 4; for each byte that it
// reads from 3 it asks every thread whether it still is who it was, and tells what is not.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define WAITING 5
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER, held, robust;
static pthread_cond_t asked = PTHREAD_COND_INITIALIZER, told = PTHREAD_COND_INITIALIZER;
static int round_now, answers, raw_word, caught, here;
static long naps, polls, timeouts;
static char wrong[4096];
static __thread int own;
static __thread long number;
static __thread char stack[65536];

static void is_wrong(const char *format, ...) {
    va_list values;
    va_start(values, format);
    vsnprintf(wrong + strlen(wrong), sizeof wrong - strlen(wrong), format, values);
    va_end(values);
}
static void on_signal(int _) {
    char *at = __builtin_frame_address(0);
    if (at >= stack && at < stack + sizeof stack) __sync_fetch_and_add(&caught, 1);
}
static void begin(int which) {
    char name[16];
    sigset_t set;
    own = 1000 + which;
    number = syscall(SYS_gettid);
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + which);
    pthread_sigmask(SIG_SETMASK, &set, NULL);
    sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = sizeof stack}, NULL);
    snprintf(name, sizeof name, "waits %d", which);
    prctl(PR_SET_NAME, name);
}
static void check(int which) {
    char name[16], expected[16];
    sigset_t set;
    stack_t at;
    snprintf(expected, sizeof expected, "waits %d", which);
    prctl(PR_GET_NAME, name);
    if (own != 1000 + which) is_wrong("[%d has %d]", which, own);
    if (number != syscall(SYS_gettid)) is_wrong("[%d is %ld, was %ld]", which, syscall(SYS_gettid), number);
    if (strcmp(name, expected)) is_wrong("[%d is called %s]", which, name);
    pthread_sigmask(SIG_BLOCK, NULL, &set);
    for (int signal = 1; signal < 64; signal++)
        if (signal != 32 && signal != 33 && sigismember(&set, signal) != (signal == SIGRTMIN + which)) is_wrong("[%d blocks %d]", which, signal);
    if (sigaltstack(NULL, &at) || at.ss_sp != stack || at.ss_size != sizeof stack) is_wrong("[%d has another stack]", which);
    void *list; size_t bytes;
    if (syscall(SYS_get_robust_list, 0, &list, &bytes) || !list) is_wrong("[%d has no list of locks]", which);
    if (sched_getcpu() < 0) is_wrong("[%d is nowhere]", which);
}
// Waits for the question, in one of several ways, and answers.
static void *waits(void *argument) {
    int which = (long)argument, seen = 0;
    begin(which);
    if (which == 2) pthread_mutex_lock(&held);
    if (which == 3) pthread_mutex_lock(&robust);
    pthread_mutex_lock(&lock);
    here++;
    for (;;) {
        while (seen == round_now) {
            if (which == 4) {
                struct timespec until;
                clock_gettime(CLOCK_REALTIME, &until);
                until.tv_nsec += 15000000;
                if (until.tv_nsec >= 1000000000) until.tv_nsec -= 1000000000, until.tv_sec++;
                if (pthread_cond_timedwait(&asked, &lock, &until) == ETIMEDOUT) timeouts++;
            } else pthread_cond_wait(&asked, &lock);
        }
        seen = round_now;
        if (which == 2 && (pthread_mutex_unlock(&held) || pthread_mutex_lock(&held))) is_wrong("[its lock is not its own]");
        if (which == 3 && (pthread_mutex_unlock(&robust) || pthread_mutex_lock(&robust))) is_wrong("[its robust lock is not its own]");
        check(which);
        answers++;
        pthread_cond_broadcast(&told);
    }
}
// Keeps something in a register while it waits, which no library saves.
static void *keeps(void *_) {
    begin(7);
    for (int last = 0;; last = __atomic_load_n(&raw_word, __ATOMIC_SEQ_CST)) {
        unsigned long kept[2] = {0x1122334455667788, 0x99aabbccddeeff00}, found[2];
        unsigned long other = 0x0123456789abcdef, after;
        long answer;
        asm volatile("movdqu (%[kept]), %%xmm13; mov %[other], %%r15; mov %[call], %%eax; xor %%r10d, %%r10d; syscall; movdqu %%xmm13, (%[found]); mov %%r15, %[after]"
            : "=&a"(answer), [after] "=&r"(after) : [kept] "r"(kept), [found] "r"(found), [other] "m"(other), [call] "i"(SYS_futex), "D"(&raw_word), "S"(FUTEX_WAIT), "d"(last)
            : "rcx", "r10", "r11", "r15", "xmm13", "memory");
        pthread_mutex_lock(&lock);
        if (memcmp(kept, found, sizeof kept) || after != other) is_wrong("[its registers are others]");
        check(7);
        answers++;
        pthread_cond_broadcast(&told);
        pthread_mutex_unlock(&lock);
    }
}
// Waits on a set of descriptors of all kinds: its own pipe and counter.
static int set, own_pipe[2], counter;
static void *watches(void *_) {
    begin(8);
    for (;;) {
        struct epoll_event event;
        if (epoll_wait(set, &event, 1, -1) != 1) { is_wrong("[it was woken by nobody: %d]", errno); continue; }
        pthread_mutex_lock(&lock);
        uint64_t read_on = 0;
        if (event.data.u64 == 0x1234567812345678) {
            if (read(own_pipe[0], &read_on, 8) != 2 || read_on != 0x6968) is_wrong("[its pipe is another]");
            if (read(own_pipe[0], &read_on, 8) != -1 || errno != EAGAIN) is_wrong("[its pipe waits]");
        } else if (event.data.u64 == 77) {
            if (read(counter, &read_on, 8) != 8 || read_on != 5) is_wrong("[its counter says %d]", (int)read_on);
        } else is_wrong("[it was woken by somebody else]");
        check(8);
        answers++;
        pthread_cond_broadcast(&told);
        pthread_mutex_unlock(&lock);
    }
}
static void *naps_on(void *_) { for (;;) if (nanosleep(&(struct timespec){0, 5000000}, NULL) == 0) __sync_fetch_and_add(&naps, 1); }
static void *polls_on(void *_) { for (;;) if (poll(NULL, 0, 5) == 0) __sync_fetch_and_add(&polls, 1); }
static void *ends(void *_) { return NULL; }

int main(int argc, char **argv) {
    pthread_t threads[WAITING], keeper, other;
    pthread_mutexattr_t attributes;
    int rounds = 0;
    char byte;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
    pthread_mutex_init(&held, &attributes);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&robust, &attributes);
    sigaction(SIGUSR1, &(struct sigaction){.sa_handler = on_signal, .sa_flags = SA_ONSTACK | SA_RESTART}, NULL);
    int file = open("/var/task/data", O_RDONLY | O_CLOEXEC);
    if (file < 0 || dup2(file, 9) != 9 || close(file) || lseek(9, 3, SEEK_SET) != 3) return 2;
    for (long n = 0; n < WAITING; n++) {
        pthread_create(&threads[n], NULL, waits, (void *)n);
        // Their numbers have gaps.
        for (long gap = 0; gap <= n; gap++) pthread_create(&other, NULL, ends, NULL), pthread_join(other, NULL);
    }
    pthread_create(&keeper, NULL, keeps, NULL);
    set = epoll_create1(EPOLL_CLOEXEC);
    counter = eventfd(0, 0);
    pipe(own_pipe);
    dup2(own_pipe[0], 20), close(own_pipe[0]), own_pipe[0] = 20;
    fcntl(own_pipe[0], F_SETFL, O_NONBLOCK);
    epoll_ctl(set, EPOLL_CTL_ADD, own_pipe[0], &(struct epoll_event){EPOLLIN, {.u64 = 0x1234567812345678}});
    epoll_ctl(set, EPOLL_CTL_ADD, counter, &(struct epoll_event){EPOLLIN, {.u64 = 77}});
    pthread_create(&other, NULL, watches, NULL);
    pthread_create(&other, NULL, naps_on, NULL);
    pthread_create(&other, NULL, polls_on, NULL);
    while (__atomic_load_n(&here, __ATOMIC_SEQ_CST) < WAITING) usleep(1000);
    write(4, "ready\n", 6);
    while (read(3, &byte, 1) == 1) {
        if (byte == '\n') continue;
        rounds++;
        *wrong = 0;
        answers = 0;
        long before[] = {naps, polls, timeouts};
        pthread_mutex_lock(&lock);
        round_now++;
        pthread_cond_broadcast(&asked);
        __atomic_add_fetch(&raw_word, 1, __ATOMIC_SEQ_CST);
        syscall(SYS_futex, &raw_word, FUTEX_WAKE, 9, NULL, NULL, 0);
        write(own_pipe[1], "hi", 2);
        write(counter, &(uint64_t){5}, 8);
        while (answers < WAITING + 3) pthread_cond_wait(&told, &lock);
        if (pthread_mutex_trylock(&held) != EBUSY) is_wrong("[a lock is free]");
        pthread_mutex_unlock(&lock);
        for (int n = 0; n < 400 && (naps == before[0] || polls == before[1] || timeouts == before[2]); n++) usleep(5000);
        if (naps == before[0] || polls == before[1] || timeouts == before[2]) is_wrong("[somebody sleeps for ever]");
        caught = 0;
        for (int n = 0; n < WAITING; n++) pthread_kill(threads[n], SIGUSR1);
        for (int n = 0; n < 400 && caught < WAITING; n++) usleep(5000);
        if (caught != WAITING) is_wrong("[%d signals came where they should]", caught);
        char read_on[8] = {0};
        if (pread(9, read_on, 4, 0) != 4 || lseek(9, 0, SEEK_CUR) != 3 || strncmp(read_on, "data", 4)) is_wrong("[its file is another]");
        if (fcntl(9, F_GETFD) || fcntl(set, F_GETFD) != FD_CLOEXEC || fcntl(counter, F_GETFD) || fcntl(19, F_GETFD) != -1 || fcntl(256, F_GETFD) != -1) is_wrong("[its descriptors are others]");
        if (pthread_create(&other, NULL, ends, NULL) || pthread_join(other, NULL)) is_wrong("[it makes no threads]");
        char line[4200];
        snprintf(line, sizeof line, "%d %s\n", rounds, *wrong ? wrong : "all well");
        write(4, line, strlen(line));
    }
    return 5;
}
