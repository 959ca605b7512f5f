/* Work on streams: it runs at once, or waits in a queue, or is recorded in a graph.

   There is one queue for all streams: they run in the order in which the host issued their work. */
#define _GNU_SOURCE
#include "fake_cuda.h"

#include <stdlib.h>
#include <string.h>

int fake_cuda_late = 0;
pthread_mutex_t fake_cuda_lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static struct graph queue;

__attribute__((constructor)) static void choose_when(void) {
    const char* late = getenv("FAKE_CUDA_LATE");
    fake_cuda_late = late && *late == '1';
}

void fake_cuda_append(struct graph* graph, void (*run)(void*), const void* data, size_t size) {
    struct work* work = malloc(sizeof *work + size);
    work->next = 0;
    work->run = run;
    memcpy(work->data, data, size);
    if (graph->last)
        graph->last->next = work;
    else
        graph->first = work;
    graph->last = work;
    graph->count++;
}

static struct work* take_first(struct graph* graph) {
    struct work* work = graph->first;
    if (work) {
        graph->first = work->next;
        graph->count--;
        if (!graph->first)
            graph->last = 0;
    }
    return work;
}

void fake_cuda_drop_graph(struct graph* graph) {
    if (--graph->users > 0)
        return;
    for (struct work* work; (work = take_first(graph));)
        free(work);
    free(graph);
}

void fake_cuda_catch_up(void) {
    pthread_mutex_lock(&fake_cuda_lock);
    for (struct work* work; (work = take_first(&queue));) {
        work->run(work->data);
        free(work);
    }
    pthread_mutex_unlock(&fake_cuda_lock);
}

int fake_cuda_queue_is_empty(void) {
    return queue.first == 0;
}

int fake_cuda_enqueue(void* stream, void (*run)(void*), void* data, size_t size) {
    pthread_mutex_lock(&fake_cuda_lock);
    int error = fake_cuda_check_stream(stream);
    struct capture* capture = fake_cuda_capture_of(stream);
    if (!error && capture && capture->invalid)
        error = fake_cuda_fail(cudaErrorStreamCaptureInvalidated);
    if (!error) {
        if (capture)
            fake_cuda_append(capture->graph, run, data, size);
        else if (fake_cuda_late)
            fake_cuda_append(&queue, run, data, size);
        else
            run(data);
    }
    pthread_mutex_unlock(&fake_cuda_lock);
    return error;
}
