// What hostile code tries first. Each attempt runs in a child of its own and prints one line: its name, and ALLOWED or
// REFUSED with the reason. Run outside of any sandbox, by root, every line must say ALLOWED: else the attempt proves
// nothing. Attempts are harmless where they succeed.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int port;          // of a listener on the host's loopback
static const char *name;  // of an abstract socket of the host
static key_t shm_key;     // of shared memory of the host
static char target[64];   // /proc of a process of the host; inside, of the init
static const char *of(const char *file) {
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", target, file);
    return path;
}

// A call that fails for another reason than being forbidden has reached the kernel.
static int reached(long result) {
    if (result >= 0) return 0;
    return errno == EPERM || errno == ENOSYS || errno == EACCES ? errno : 0;
}
static int done(long result) { return result >= 0 ? 0 : errno; }
static int opens(const char *path, int flags) { return done(open(path, flags | O_NONBLOCK)); }
static int reads(const char *path) {
    char byte;
    int fd = open(path, O_RDONLY | O_NONBLOCK);
    if (fd < 0) return errno;
    long got = read(fd, &byte, 1);
    return got > 0 ? 0 : got < 0 ? errno : ENODATA;
}

static int unshare_user(void) { return done(unshare(CLONE_NEWUSER)); }
static int unshare_mount(void) { return done(unshare(CLONE_NEWNS)); }
static int unshare_net(void) { return done(unshare(CLONE_NEWNET)); }
static int unshare_cgroup(void) { return done(unshare(CLONE_NEWCGROUP)); }
static int clone_user(void) { return done(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0)); }
static int clone_pid(void) { return done(syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0)); }
static int clone3_user(void) {
    unsigned long args[8] = {CLONE_NEWUSER, 0, 0, 0, SIGCHLD};
    return done(syscall(SYS_clone3, args, sizeof args));
}
static int mount_tmpfs(void) {
    unshare(CLONE_NEWNS);
    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
    return done(mount("x", "/tmp", "tmpfs", 0, NULL));
}
static int mount_proc(void) {
    unshare(CLONE_NEWNS);
    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
    return done(mount("x", "/tmp", "proc", 0, NULL));
}
// A group's release_agent runs as root of the host (CVE-2022-0492).
static int mount_groups(void) {
    unshare(CLONE_NEWNS | CLONE_NEWCGROUP);
    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
    return done(mount("x", "/tmp", "cgroup2", 0, NULL));
}
static int remount_root(void) { return reached(mount(NULL, "/nowhere", NULL, MS_REMOUNT, NULL)); }
static int unmount_proc(void) { return reached(umount2("/proc/nowhere", MNT_DETACH)); }
static int fs_open(void) { return done(syscall(SYS_fsopen, "tmpfs", 0)); }
static int open_tree_(void) { return done(syscall(SYS_open_tree, AT_FDCWD, "/", 1)); }
static int move_mount_(void) { return reached(syscall(SYS_move_mount, -1, "", -1, "", 0)); }
static int mount_setattr_(void) { return reached(syscall(SYS_mount_setattr, AT_FDCWD, "/nowhere", 0, 0, 0)); }
static int statmount_(void) { return reached(syscall(457, 0, 0, 0, 0)); }
static int pivot(void) { return reached(syscall(SYS_pivot_root, "/nowhere", "/nowhere")); }
static int chroot_(void) { return done(chroot("/")); }
static int set_ns(void) { return done(setns(open("/proc/self/ns/uts", O_RDONLY), 0)); }
static int trace(void) { return done(ptrace(PTRACE_TRACEME, 0, 0, 0)); }
static int vm_read(void) {
    char from = 1, to;
    struct iovec a = {&to, 1}, b = {&from, 1};
    return done(process_vm_readv(getpid(), &a, 1, &b, 1, 0));
}
static int kcmp_(void) { return done(syscall(SYS_kcmp, getpid(), getpid(), 0, 0, 0)); }
static int pidfd_getfd_(void) { return done(syscall(SYS_pidfd_getfd, syscall(SYS_pidfd_open, getpid(), 0), 0, 0)); }
static int bpf_(void) {
    unsigned int attr[32] = {2, 4, 4, 1};
    return done(syscall(SYS_bpf, 0, attr, sizeof attr));
}
static int perf(void) {
    unsigned long attr[16] = {1 | (unsigned long)128 << 32, 1};
    return reached(syscall(SYS_perf_event_open, attr, 0, -1, -1, 0));
}
static int uring(void) {
    char params[120] = {0};
    return done(syscall(SYS_io_uring_setup, 1, params));
}
static int userfault(void) { return done(syscall(SYS_userfaultfd, O_CLOEXEC)); }
static int add_key_(void) { return done(syscall(SYS_add_key, "user", "lamp-test", "x", 1, -2)); }
static int keyctl_(void) { return done(syscall(SYS_keyctl, 0, -2, 1)); }
static int request_key_(void) { return reached(syscall(SYS_request_key, "user", "lamp-none", 0, 0)); }
static int handle_of(void) {
    struct { struct file_handle head; char rest[128]; } handle = {.head.handle_bytes = 128};
    int mount_id;
    return reached(name_to_handle_at(AT_FDCWD, "/", &handle.head, &mount_id, 0));
}
static int open_handle(void) {
    struct { struct file_handle head; char rest[128]; } handle = {.head.handle_bytes = 8};
    return reached(open_by_handle_at(AT_FDCWD, &handle.head, O_RDONLY));
}
static int fanotify(void) { return done(syscall(SYS_fanotify_init, 0, 0)); }
static int vsock(void) { return reached(socket(AF_VSOCK, SOCK_STREAM, 0)); }
static int alg(void) { return reached(socket(AF_ALG, SOCK_SEQPACKET, 0)); }
static int packet(void) { return done(socket(AF_PACKET, SOCK_RAW, 0)); }
static int raw_ip(void) { return done(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)); }
static int netfilter(void) { return done(socket(AF_NETLINK, SOCK_RAW, 12)); }
static int audit(void) { return reached(socket(AF_NETLINK, SOCK_RAW, 9)); }
static int no_aslr(void) { return done(personality(ADDR_NO_RANDOMIZE)); }
static int host_name(void) {
    char host[65];
    gethostname(host, sizeof host);
    return done(sethostname(host, strlen(host)));
}
static int swap(void) { return reached(syscall(SYS_swapon, "/nowhere", 0)); }
static int reboot_(void) { return reached(syscall(SYS_reboot, 0, 0, 0, 0)); }
static int module(void) { return reached(syscall(SYS_finit_module, -1, "", 0)); }
static int module_gone(void) { return reached(syscall(SYS_delete_module, "lamp_none", O_NONBLOCK)); }
static int kexec(void) { return reached(syscall(SYS_kexec_load, 0, 17, 0, 0)); }
static int acct_(void) { return reached(acct("/nowhere")); }
static int kernel_log(void) { return done(syscall(SYS_syslog, 10, 0, 0)); }
static int set_clock(void) {
    struct timespec never = {0, 2000000000};
    return reached(syscall(SYS_clock_settime, CLOCK_REALTIME, &never));
}
static int set_day(void) {
    struct timeval never = {0, 2000000};
    return reached(syscall(SYS_settimeofday, &never, NULL));
}
static int tune_clock(void) {
    struct timex nothing = {0};
    return done(adjtimex(&nothing));
}
static int push_input(void) { return reached(ioctl(0, 0x5412, "x")); }
static int linux_tty(void) { return reached(ioctl(0, 0x541c, "x")); }
static int block_device(void) {
    int result = done(mknod("/tmp/lamp-block", S_IFBLK | 0600, makedev(8, 0)));
    unlink("/tmp/lamp-block");
    return result;
}
static int become_root(void) { return done(setuid(0)); }
static int own_binary(void) {
    // Beside it, and as writable: the binary itself is busy while it runs.
    char path[300];
    long length = readlink("/proc/self/exe", path, 256);
    if (length < 0) return errno;
    strcpy(path + length, ".canary");
    return opens(path, O_WRONLY);
}
static int write_usr(void) {
    int result = opens("/usr/lamp-test", O_CREAT | O_WRONLY);
    unlink("/usr/lamp-test");
    return result;
}
static int write_etc(void) {
    int result = opens("/etc/lamp-test", O_CREAT | O_WRONLY);
    unlink("/etc/lamp-test");
    return result;
}
static int core_pattern(void) { return opens("/proc/sys/kernel/core_pattern", O_WRONLY); }
static int user_namespaces(void) { return opens("/proc/sys/user/max_user_namespaces", O_WRONLY); }
static int sysrq(void) { return opens("/proc/sysrq-trigger", O_WRONLY) ? errno : reads("/proc/sysrq-trigger") == ENODATA ? ENODATA : 0; }
static int kcore(void) { return reads("/proc/kcore"); }
static int kmsg(void) { return opens("/dev/kmsg", O_RDONLY); }
static int proc_keys(void) { return reads("/proc/key-users"); }
static int config(void) { return reads("/proc/config.gz"); }
static int boot_line(void) { return reads("/proc/cmdline"); }
static int symbols(void) { return reads("/proc/kallsyms"); }
static int sys_tree(void) { return opens("/sys/kernel", O_RDONLY); }
static int groups(void) { return opens("/sys/fs/cgroup", O_RDONLY); }
static int shadow(void) { return opens("/etc/shadow", O_RDONLY); }
static int root_home(void) { return opens("/root", O_RDONLY); }
static int host_run(void) { return opens("/run", O_RDONLY); }
static int init_environ(void) { return opens(of("environ"), O_RDONLY); }
static int init_memory(void) { return opens(of("mem"), O_RDWR); }
static int init_files(void) { return opens(of("fd"), O_RDONLY); }
static int init_root(void) { return opens(of("root/etc"), O_RDONLY); }
static int init_binary(void) {
    char path[256];
    return done(readlink(of("exe"), path, sizeof path));
}
static int old_abi(void) {
#ifdef __x86_64__
    int result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(20));  // getpid
    return result > 0 ? 0 : ENOSYS;
#else
    return 0;
#endif
}
static int host_loopback(void) {
    struct sockaddr_in to = {AF_INET, htons(port), {htonl(INADDR_LOOPBACK)}};
    return done(connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&to, sizeof to));
}
static int host_abstract(void) {
    struct sockaddr_un to = {AF_UNIX};
    strcpy(to.sun_path + 1, name);
    socklen_t length = sizeof to.sun_family + 1 + strlen(name);
    return done(connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&to, length));
}
static int host_shm(void) { return done(shmget(shm_key, 1, 0)); }
static int more_files(void) {
    struct rlimit limit = {8192, 8192};
    return done(setrlimit(RLIMIT_NOFILE, &limit));
}
static int higher_priority(void) { return done(setpriority(PRIO_PROCESS, 0, -5)); }

#define TRY(attempt) {#attempt, attempt}
static const struct { const char *name; int (*run)(void); } attempts[] = {
    TRY(unshare_user), TRY(unshare_mount), TRY(unshare_net), TRY(unshare_cgroup), TRY(clone_user), TRY(clone_pid),
    TRY(clone3_user), TRY(mount_tmpfs), TRY(mount_proc), TRY(mount_groups), TRY(remount_root), TRY(unmount_proc), TRY(fs_open),
    TRY(open_tree_), TRY(move_mount_), TRY(mount_setattr_), TRY(statmount_), TRY(pivot), TRY(chroot_), TRY(set_ns),
    TRY(trace), TRY(vm_read), TRY(kcmp_), TRY(pidfd_getfd_), TRY(bpf_), TRY(perf), TRY(uring), TRY(userfault),
    TRY(add_key_), TRY(keyctl_), TRY(request_key_), TRY(handle_of), TRY(open_handle), TRY(fanotify), TRY(vsock),
    TRY(alg), TRY(packet), TRY(raw_ip), TRY(netfilter), TRY(audit), TRY(no_aslr), TRY(host_name), TRY(swap),
    TRY(reboot_), TRY(module), TRY(module_gone), TRY(kexec), TRY(acct_), TRY(kernel_log), TRY(set_clock),
    TRY(set_day), TRY(tune_clock), TRY(push_input), TRY(linux_tty), TRY(block_device), TRY(become_root),
    TRY(own_binary), TRY(write_usr), TRY(write_etc), TRY(core_pattern), TRY(user_namespaces), TRY(sysrq), TRY(kcore),
    TRY(kmsg), TRY(proc_keys), TRY(config), TRY(boot_line), TRY(symbols), TRY(sys_tree), TRY(groups), TRY(shadow),
    TRY(root_home), TRY(host_run), TRY(init_environ), TRY(init_memory), TRY(init_files), TRY(init_root),
    TRY(init_binary), TRY(old_abi), TRY(host_loopback), TRY(host_abstract), TRY(host_shm), TRY(more_files),
    TRY(higher_priority),
};

// Every number with arguments that do no harm where they are taken: nothing is at the pointers.
static void every_number(void) {
    for (int number = 0; number <= 470; number++) {
        fflush(stdout);
        int child = fork();
        if (child == 0) {
            alarm(1);
            long result = syscall(number, -1, -1, -1, -1, -1, -1);
            _exit(result < 0 ? errno : 0);
        }
        int status;
        waitpid(child, &status, 0);
        printf("%d %d\n", number, WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
    }
}

int main(int argc, char **argv) {
    if (argc == 2 && !strcmp(argv[1], "numbers")) {
        every_number();
        return 0;
    }
    if (argc != 5) return 2;
    port = atoi(argv[1]);
    name = argv[2];
    shm_key = atoi(argv[3]);
    snprintf(target, sizeof target, "/proc/%s", argv[4]);
    for (size_t at = 0; at < sizeof attempts / sizeof *attempts; at++) {
        fflush(stdout);
        int child = fork();
        if (child == 0) {
            alarm(5);
            _exit(attempts[at].run());
        }
        int status;
        waitpid(child, &status, 0);
        if (WIFSIGNALED(status))
            printf("%s REFUSED signal %d\n", attempts[at].name, WTERMSIG(status));
        else if (WEXITSTATUS(status))
            printf("%s REFUSED %s\n", attempts[at].name, strerror(WEXITSTATUS(status)));
        else
            printf("%s ALLOWED\n", attempts[at].name);
    }
    return 0;
}
