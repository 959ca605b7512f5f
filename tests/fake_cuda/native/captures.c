/* Captures of streams, and graphs, which are what a capture recorded. */
#include "fake_cuda.h"

#include <stdlib.h>

static struct capture* captures; /* those under way */

struct capture* fake_cuda_capture_of(struct stream* stream) {
    return fake_cuda_is_own_stream(stream) ? 0 : stream->capture;
}

/* In the relaxed mode only waits are forbidden. The thread's mode counts as the global one. */
int fake_cuda_forbidden_in_capture(int is_wait) {
    for (struct capture* capture = captures; capture; capture = capture->next) {
        if (is_wait || capture->mode != cudaStreamCaptureModeRelaxed) {
            capture->invalid = 1;
            return fake_cuda_fail(cudaErrorStreamCaptureUnsupported);
        }
    }
    return cudaSuccess;
}

int fake_cudaStreamIsCapturing(struct stream* stream, int* status) {
    enum { None = 0, Active = 1, Invalidated = 2 }; /* cudaStreamCaptureStatus... */
    int error = fake_cuda_is_legacy_stream(stream) ? fake_cuda_check_stream(stream) : cudaSuccess;
    struct capture* capture = fake_cuda_capture_of(stream);
    if (!capture)
        *status = None;
    else
        *status = capture->invalid ? Invalidated : Active;
    return error;
}

int fake_cudaStreamBeginCapture(struct stream* stream, int mode) {
    if (fake_cuda_is_own_stream(stream) || stream->capture)
        return fake_cuda_fail(cudaErrorStreamCaptureUnsupported);
    struct capture* capture = calloc(1, sizeof *capture);
    capture->graph = calloc(1, sizeof *capture->graph);
    capture->graph->users = 1;
    capture->mode = mode;
    pthread_mutex_lock(&fake_cuda_lock);
    capture->next = captures;
    captures = capture;
    stream->capture = capture;
    pthread_mutex_unlock(&fake_cuda_lock);
    fake_cuda_log("capture begin");
    return cudaSuccess;
}

/* The capture itself is not freed: events may still name it. */
int fake_cudaStreamEndCapture(struct stream* stream, struct graph** graph) {
    struct capture* capture = fake_cuda_capture_of(stream);
    *graph = 0;
    if (!capture)
        return fake_cuda_fail(cudaErrorStreamCaptureUnmatched);
    pthread_mutex_lock(&fake_cuda_lock);
    struct capture** at = &captures;
    while (*at != capture)
        at = &(*at)->next;
    *at = capture->next;
    capture->ended = 1;
    for (struct stream* other = fake_cuda_streams; other; other = other->next)
        if (other->capture == capture)
            other->capture = 0;
    pthread_mutex_unlock(&fake_cuda_lock);
    fake_cuda_log("capture end %d", capture->graph->count);
    if (capture->invalid) {
        fake_cuda_drop_graph(capture->graph);
        return fake_cuda_fail(cudaErrorStreamCaptureInvalidated);
    }
    *graph = capture->graph;
    return cudaSuccess;
}

/* ---- graphs: one that can be launched is the same object, with a user more ---- */

int fake_cudaGraphInstantiate(struct graph** executable, struct graph* graph,
                              unsigned long long flags) {
    (void)flags;
    *executable = graph;
    graph->users++;
    return cudaSuccess;
}

int fake_cudaGraphDestroy(struct graph* graph) {
    fake_cuda_drop_graph(graph);
    return cudaSuccess;
}

int fake_cudaGraphExecDestroy(struct graph* graph) {
    fake_cuda_catch_up(); /* late work may be this graph */
    fake_cuda_drop_graph(graph);
    return cudaSuccess;
}

int fake_cudaGraphUpload(struct graph* graph, struct stream* stream) {
    (void)graph;
    (void)stream;
    return cudaSuccess;
}

static void replay(void* data) {
    struct graph* graph = *(struct graph**)data;
    for (struct work* work = graph->first; work; work = work->next)
        work->run(work->data);
}

int fake_cudaGraphLaunch(struct graph* graph, struct stream* stream) {
    fake_cuda_log("graph %d", graph->count);
    if (fake_cuda_capture_of(stream))
        graph->users++; /* another graph has it from now on, so this one is never freed */
    return fake_cuda_enqueue(stream, replay, &graph, sizeof graph);
}
