/* The limit of starting sandboxes: children in new namespaces of the kinds that a sandbox has (processes, mounts, network,
 * IPC, host name, control groups, users), and nothing else: no files, no limits, no way out, no program.
 *
 * `fork_floor COUNT`: so many at once, which stay until all are there. `fork_floor COUNT SECONDS`: so many at a time, each
 * of which ends at once, one after the other for so long. Each child says that it runs; how many did so, and within how
 * many milliseconds, is printed. */

#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BORN_INTO (CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS)

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

/* A child that says that it is there, and stays for as long as the other end of `stay` is open elsewhere, if there is one. */
static void bear(int say, const int *stay)
{
    long pid = syscall(SYS_clone, BORN_INTO | SIGCHLD, 0, 0, 0, 0);
    char byte = 0;
    if (pid < 0)
        fail("start a child in new namespaces");
    if (pid > 0)
        return;
    if (unshare(CLONE_NEWCGROUP) || unshare(CLONE_NEWUSER) || write(say, &byte, 1) != 1)
        _exit(1);
    if (stay && (close(stay[1]) || read(stay[0], &byte, 1) < 0))
        _exit(1);
    _exit(0);
}

static void hear(int said, long count)
{
    char bytes[4096];
    while (count > 0) {
        ssize_t got = read(said, bytes, count < 4096 ? count : 4096);
        if (got <= 0)
            fail("hear from the children");
        count -= got;
    }
}

static void bury(void)
{
    int status;
    if (wait(&status) < 0)
        fail("wait for a child");
    if (status) {
        fprintf(stderr, "a child failed\n");
        exit(1);
    }
}

int main(int count_of_arguments, char **arguments)
{
    int said[2], stay[2];
    long at_once = count_of_arguments > 1 ? atol(arguments[1]) : 0;
    double wanted_ms = count_of_arguments > 2 ? atof(arguments[2]) * 1e3 : 0;
    if (at_once < 1) {
        fprintf(stderr, "usage: fork_floor COUNT [SECONDS]\n");
        return 2;
    }
    /* Only in a user namespace of its own may an ordinary user make the others. */
    if (geteuid() != 0 && unshare(CLONE_NEWUSER))
        fail("make a user namespace");
    if (pipe(said) || pipe(stay))
        fail("make pipes");
    /* A child that failed says nothing. */
    alarm(60 + (unsigned)(wanted_ms / 1e3));
    double start = now_ms(), end;
    long born = at_once;
    if (wanted_ms == 0) {
        for (long child = 0; child < at_once; child++)
            bear(said[1], stay);
        hear(said[0], at_once);
        end = now_ms();
    } else {
        for (long child = 0; child < at_once; child++)
            bear(said[1], NULL);
        while ((end = now_ms()) - start < wanted_ms) {
            bury();
            bear(said[1], NULL);
            born++;
        }
        born -= at_once;
    }
    printf("%ld %.3f\n", born, end - start);
    fflush(stdout);
    return 0;
}
