/* Lets the Nth call of a kind fail, or kill the process, on files under one folder. Preloaded by
   scripts/torture; the kinds are open, write, fsync, rename. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static char folder[4096];
static int kind = -1, error;
static long left, fired;
static char inside[65536]; /* descriptors of files under the folder */

void torture_arm(const char *under, int what, long n, int number) {
    strncpy(folder, under, sizeof folder - 1);
    kind = what, left = n, error = number, fired = 0;
}

long torture_fired(void) { return fired; }

static int is_inside(const char *path) {
    return kind >= 0 && strncmp(path, folder, strlen(folder)) == 0;
}

/* An error number of 0 kills the process. */
static int fails(int what) {
    if (what != kind || --left != 0) return 0;
    fired++;
    if (error == 0) kill(getpid(), SIGKILL);
    errno = error;
    return 1;
}

#define OPEN(name)                                                                  \
    int name(const char *path, int flags, ...) {                                    \
        static int (*real)(const char *, int, ...);                                 \
        if (!real) real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, #name); \
        va_list more;                                                               \
        va_start(more, flags);                                                      \
        mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;                   \
        va_end(more);                                                               \
        int mine = is_inside(path) && (flags & (O_WRONLY | O_RDWR | O_DIRECTORY) || \
                                       !(flags & O_NONBLOCK));                      \
        if (mine && fails(0)) return -1;                                            \
        int fd = real(path, flags, mode);                                           \
        if (fd >= 0 && fd < (int)sizeof inside) inside[fd] = mine;                  \
        return fd;                                                                  \
    }
OPEN(open)
OPEN(open64)

ssize_t write(int fd, const void *bytes, size_t n) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) real = (ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    if (fd >= 0 && fd < (int)sizeof inside && inside[fd] && fails(1)) return -1;
    return real(fd, bytes, n);
}

int fsync(int fd) {
    static int (*real)(int);
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    if (fd >= 0 && fd < (int)sizeof inside && inside[fd] && fails(2)) return -1;
    return real(fd);
}

int rename(const char *from, const char *to) {
    static int (*real)(const char *, const char *);
    if (!real) real = (int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename");
    if (is_inside(from) && fails(3)) return -1;
    return real(from, to);
}
