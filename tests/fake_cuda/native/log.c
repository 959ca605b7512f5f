/* The log: one line for each event, in the order in which the host issues them. */
#include "fake_cuda.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int log_file = -1;

__attribute__((constructor)) static void open_log(void) {
    const char* path = getenv("FAKE_CUDA_LOG");
    if (!path || !*path)
        return;
    log_file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (log_file < 0)
        perror("fake_cuda: FAKE_CUDA_LOG cannot be opened");
}

/* Logs to another open file from now on, or to none if it is -1; returns the one before. */
int fake_cuda_log_swap(int file) {
    int before = log_file;
    log_file = file;
    return before;
}

void fake_cuda_log(const char* format, ...) {
    if (log_file < 0)
        return;
    char line[512];
    va_list values;
    va_start(values, format);
    int length = vsnprintf(line, sizeof line - 1, format, values);
    va_end(values);
    if (length > (int)sizeof line - 2)
        length = sizeof line - 2;
    line[length] = '\n';
    /* one call for the whole line, so that lines of two processes do not mix */
    if (write(log_file, line, length + 1) < 0) {
        perror("fake_cuda: the log cannot be written");
        log_file = -1;
    }
}
