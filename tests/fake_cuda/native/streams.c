/* Streams and events. A stream has no queue of its own: see work.c. */
#include "fake_cuda.h"

#include <stdlib.h>

struct event {
    int device;
    struct capture* capture; /* the event was last recorded on a stream of this capture */
};
struct stream* fake_cuda_streams;

int fake_cuda_check_stream(struct stream* stream) {
    if (!fake_cuda_is_own_stream(stream)) {
        if (stream->device == fake_cuda_current_device)
            return cudaSuccess;
        return fake_cuda_fail(cudaErrorInvalidResourceHandle);
    }
    if (!fake_cuda_is_legacy_stream(stream))
        return cudaSuccess;
    /* The legacy stream waits for every blocking stream, which a capture cannot record. */
    for (struct stream* other = fake_cuda_streams; other; other = other->next) {
        if (other->capture && other->blocking && other->device == fake_cuda_current_device) {
            other->capture->invalid = 1;
            return fake_cuda_fail(cudaErrorStreamCaptureImplicit);
        }
    }
    return cudaSuccess;
}

/* ---- streams ---- */

static int create_stream(struct stream** created, int blocking) {
    struct stream* stream = calloc(1, sizeof *stream);
    stream->device = fake_cuda_current_device;
    stream->blocking = blocking;
    pthread_mutex_lock(&fake_cuda_lock);
    stream->next = fake_cuda_streams;
    fake_cuda_streams = stream;
    pthread_mutex_unlock(&fake_cuda_lock);
    *created = stream;
    return cudaSuccess;
}

int fake_cudaStreamCreate(struct stream** created) {
    return create_stream(created, 1);
}

int fake_cudaStreamCreateWithFlags(struct stream** created, unsigned flags) {
    enum { cudaStreamNonBlocking = 1 };
    return create_stream(created, !(flags & cudaStreamNonBlocking));
}

int fake_cudaStreamCreateWithPriority(struct stream** created, unsigned flags, int priority) {
    (void)priority;
    return fake_cudaStreamCreateWithFlags(created, flags);
}

int fake_cudaStreamDestroy(struct stream* stream) {
    pthread_mutex_lock(&fake_cuda_lock);
    struct stream** at = &fake_cuda_streams;
    while (*at && *at != stream)
        at = &(*at)->next;
    if (*at) {
        *at = stream->next;
        free(stream);
    }
    pthread_mutex_unlock(&fake_cuda_lock);
    return cudaSuccess;
}

int fake_cudaDeviceSynchronize(void) {
    fake_cuda_log("sync device");
    int error = fake_cuda_forbidden_in_capture(1);
    if (!error)
        fake_cuda_catch_up();
    return error;
}

int fake_cudaStreamSynchronize(struct stream* stream) {
    fake_cuda_log("sync stream");
    struct capture* capture = fake_cuda_capture_of(stream);
    if (capture) {
        capture->invalid = 1;
        return fake_cuda_fail(cudaErrorStreamCaptureUnsupported);
    }
    int error = fake_cuda_check_stream(stream);
    if (!error)
        fake_cuda_catch_up();
    return error;
}

/* Late work is "not ready" the first time that somebody asks, and then it runs: a loop that asks
   until it is ready must end. */
static int query(void) {
    if (fake_cuda_queue_is_empty())
        return cudaSuccess;
    fake_cuda_catch_up();
    return cudaErrorNotReady;
}

int fake_cudaStreamQuery(struct stream* stream) {
    (void)stream;
    return query();
}

/* ---- events ---- */

int fake_cudaEventCreate(struct event** created) {
    *created = calloc(1, sizeof **created);
    (*created)->device = fake_cuda_current_device;
    return cudaSuccess;
}

int fake_cudaEventCreateWithFlags(struct event** created, unsigned flags) {
    (void)flags;
    return fake_cudaEventCreate(created);
}

int fake_cudaEventDestroy(struct event* event) {
    free(event);
    return cudaSuccess;
}

int fake_cudaEventQuery(struct event* event) {
    (void)event;
    return query();
}

int fake_cudaEventRecord(struct event* event, struct stream* stream) {
    if (event->device != fake_cuda_current_device)
        return fake_cuda_fail(cudaErrorInvalidResourceHandle);
    int error = fake_cuda_check_stream(stream);
    event->capture = fake_cuda_capture_of(stream);
    return error;
}

int fake_cudaEventSynchronize(struct event* event) {
    fake_cuda_log("sync event");
    if (event->capture) {
        event->capture->invalid = 1;
        return fake_cuda_fail(cudaErrorCapturedEvent);
    }
    fake_cuda_catch_up();
    return cudaSuccess;
}

int fake_cudaEventElapsedTime(float* milliseconds, struct event* start, struct event* end) {
    (void)start;
    (void)end;
    *milliseconds = 0;
    return cudaSuccess;
}

/* Outside captures this needs no work, because streams run in the order of issue anyway. */
int fake_cudaStreamWaitEvent(struct stream* stream, struct event* event, unsigned flags) {
    (void)flags;
    if (!event->capture)
        return cudaSuccess;
    if (event->capture->ended)
        return fake_cuda_fail(cudaErrorCapturedEvent);
    if (fake_cuda_is_own_stream(stream))
        return fake_cuda_fail(cudaErrorStreamCaptureUnsupported);
    stream->capture = event->capture; /* the stream joins the capture */
    return cudaSuccess;
}

/* ---- functions of the host ---- */

struct host_call {
    void (*function)(void*);
    void* argument;
};

static void run_host_call(void* data) {
    struct host_call* call = data;
    call->function(call->argument);
}

int fake_cudaLaunchHostFunc(struct stream* stream, void (*function)(void*), void* argument) {
    struct host_call call = {function, argument};
    fake_cuda_log("host");
    return fake_cuda_enqueue(stream, run_host_call, &call, sizeof call);
}
