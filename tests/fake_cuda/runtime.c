/* The CUDA runtime and driver that CuPy sees, on the CPU. A function fake_cudaX takes the place of
   the cudaX that is linked into CuPy; those missing here answer "not supported" (see build.py). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_DEVICE = 101, INVALID_HANDLE = 400, NOT_FOUND = 500,
       NOT_READY = 600, NOT_SUPPORTED = 801, CAPTURE_UNSUPPORTED = 900, CAPTURE_INVALIDATED = 901,
       CAPTURE_UNMATCHED = 903, CAPTURE_IMPLICIT = 906 };

/* ---- the log: one line per event ---- */

static int log_file = -1;

void fake_cuda_log_to(const char* path) {
  if (log_file >= 0) close(log_file);
  log_file = path && *path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666) : -1;
}
/* Log to another open file from now on, -1 for none; returns the one before. */
int fake_cuda_log_swap(int file) {
  int before = log_file;
  log_file = file;
  return before;
}
void fake_cuda_log(const char* format, ...) {
  if (log_file < 0) return;
  char line[512];
  va_list list;
  va_start(list, format);
  int n = vsnprintf(line, sizeof line - 1, format, list);
  va_end(list);
  if (n > (int)sizeof line - 2) n = sizeof line - 2;
  line[n] = '\n';
  if (write(log_file, line, n + 1) < 0) log_file = -1;
}
#define LOG fake_cuda_log

/* ---- devices ---- */

static int devices = 1, late = 0;
static __thread int device = 0, last_error = 0;
static pthread_mutex_t lock;  /* recursive: one piece of work at a time, whoever brings it */

__attribute__((constructor)) static void start(void) {
  pthread_mutexattr_t a;
  pthread_mutexattr_init(&a);
  pthread_mutexattr_settype(&a, PTHREAD_MUTEX_RECURSIVE);
  pthread_mutex_init(&lock, &a);
  const char* n = getenv("FAKE_CUDA_DEVICES");
  if (n) devices = atoi(n);
  const char* l = getenv("FAKE_CUDA_LATE");
  late = l && *l == '1';
  fake_cuda_log_to(getenv("FAKE_CUDA_LOG"));
}
static int fail(int e) { return last_error = e; }
int fake_cuda_unsupported(const char* name) {
  fprintf(stderr, "fake_cuda: %s is not emulated\n", name);
  return fail(NOT_SUPPORTED);
}
static const char* error_name(int e) {
  switch (e) {
    case 0: return "cudaSuccess";
    case INVALID_VALUE: return "cudaErrorInvalidValue";
    case OUT_OF_MEMORY: return "cudaErrorMemoryAllocation";
    case NO_DEVICE: return "cudaErrorNoDevice";
    case INVALID_DEVICE: return "cudaErrorInvalidDevice";
    case INVALID_HANDLE: return "cudaErrorInvalidResourceHandle";
    case NOT_FOUND: return "cudaErrorSymbolNotFound";
    case NOT_READY: return "cudaErrorNotReady";
    case CAPTURE_UNSUPPORTED: return "cudaErrorStreamCaptureUnsupported";
    case CAPTURE_INVALIDATED: return "cudaErrorStreamCaptureInvalidated";
    case CAPTURE_UNMATCHED: return "cudaErrorStreamCaptureUnmatched";
    case CAPTURE_IMPLICIT: return "cudaErrorStreamCaptureImplicit";
    default: return "cudaErrorNotSupported";
  }
}
const char* fake_cudaGetErrorName(int e) { return error_name(e); }
const char* fake_cudaGetErrorString(int e) { (void)e; return "from the stand-in CUDA device (CPU)"; }
int cuGetErrorName(int e, const char** s) { *s = error_name(e); return 0; }
int cuGetErrorString(int e, const char** s) { *s = fake_cudaGetErrorString(e); return 0; }
int fake_cudaGetLastError(void) { int e = last_error; last_error = 0; return e; }
int fake_cudaGetDeviceCount(int* n) { *n = devices; return devices ? 0 : fail(NO_DEVICE); }
int fake_cudaGetDevice(int* n) { *n = device; return 0; }
int fake_cudaSetDevice(int n) { if (n < 0 || n >= devices) return fail(INVALID_DEVICE); device = n; return 0; }
int fake_cudaRuntimeGetVersion(int* n) { *n = 12090; return 0; }
int fake_cudaDriverGetVersion(int* n) { *n = 12090; return 0; }
int fake_cudaDeviceGetAttribute(int* v, int a, int d) {
  if (d < 0 || d >= devices) return fail(INVALID_DEVICE);
  switch (a) {
    case 1: case 2: case 3: *v = 1024; break;        /* threads in a block */
    case 4: *v = 64; break;
    case 5: case 6: case 7: *v = a == 5 ? 2147483647 : 65535; break;  /* blocks in a grid */
    case 8: *v = 49152; break;                       /* shared memory */
    case 10: *v = 32; break;                         /* warp */
    case 16: *v = 132; break;                        /* multiprocessors */
    case 75: *v = 9; break;                          /* compute capability 9.0 */
    default: *v = 0;
  }
  return 0;
}
int fake_cudaGetDeviceProperties_v2(void* p, int d) {
  struct { char name[256], ids[32]; size_t memory, shared; int registers, warp; size_t pitch;
           int threads, dim[3], grid[3], clock; size_t constant; int major, minor;
           size_t alignment[2]; int overlap, multiprocessors; } *q = p;
  if (d < 0 || d >= devices) return fail(INVALID_DEVICE);
  memset(p, 0, sizeof *q);
  strcpy(q->name, "stand-in CUDA device (CPU)");
  q->memory = (size_t)8 << 30; q->shared = 49152; q->warp = 32; q->threads = 1024;
  q->major = 9; q->multiprocessors = 132;
  return 0;
}
int fake_cudaDeviceGetPCIBusId(char* b, int n, int d) { snprintf(b, n, "0000:%02x:00.0", d); return 0; }
int fake_cudaDeviceCanAccessPeer(int* c, int a, int b) { *c = 0; (void)a; (void)b; return 0; }
int fake_cudaProfilerStart(void) { return 0; }
int fake_cudaProfilerStop(void) { return 0; }

/* ---- streams, captures and graphs: work is a function and a copy of its arguments ---- */

struct work { struct work* next; void (*run)(void*); char data[] __attribute__((aligned(16))); };
struct graph { int users, count; struct work *first, *last; };
struct capture { struct graph* graph; int mode, invalid; struct capture* next; };
struct stream { int device, blocking; struct capture* capture; struct stream* next; };
struct event { int device; struct capture* capture; };
static struct graph queue;        /* with FAKE_CUDA_LATE=1: what has not run yet, of all streams */
static struct stream* streams;
static struct capture* captures;

static void append(struct graph* g, void (*run)(void*), const void* data, size_t size) {
  struct work* w = malloc(sizeof *w + size);
  w->next = 0; w->run = run;
  memcpy(w->data, data, size);
  if (g->last) g->last->next = w; else g->first = w;
  g->last = w;
  g->count++;
}
static void empty(struct graph* g, int run) {
  while (g->first) {
    struct work* w = g->first;
    g->first = w->next;
    if (!g->first) g->last = 0;
    if (run) w->run(w->data);
    free(w);
  }
  g->count = 0;
}
static void drop(struct graph* g) { if (g && --g->users == 0) { empty(g, 0); free(g); } }
void fake_cuda_catch_up(void) { pthread_mutex_lock(&lock); empty(&queue, 1); pthread_mutex_unlock(&lock); }

/* a stream's error before work or a wait is put on it; stream 0, 1 and 2 are CUDA's own */
static int check_stream(struct stream* s) {
  if ((uintptr_t)s > 2) return s->device == device ? 0 : fail(INVALID_HANDLE);
  if ((uintptr_t)s < 2)
    for (struct stream* t = streams; t; t = t->next)
      if (t->capture && t->blocking && t->device == device) {
        t->capture->invalid = 1;
        return fail(CAPTURE_IMPLICIT);
      }
  return 0;
}
static struct capture* capture_of(struct stream* s) { return (uintptr_t)s > 2 ? s->capture : 0; }
int fake_cuda_enqueue(void* stream, void (*run)(void*), void* data, size_t size) {
  pthread_mutex_lock(&lock);
  int e = check_stream(stream);
  struct capture* c = capture_of(stream);
  if (!e && c && c->invalid) e = fail(CAPTURE_INVALIDATED);
  if (!e) {
    if (c) append(c->graph, run, data, size);
    else if (late) append(&queue, run, data, size);
    else run(data);
  }
  pthread_mutex_unlock(&lock);
  return e;
}
/* what may not happen during a capture; in the relaxed mode only waits may not */
static int unsafe(int wait) {
  for (struct capture* c = captures; c; c = c->next)
    if (wait || c->mode != 2) { c->invalid = 1; return fail(CAPTURE_UNSUPPORTED); }
  return 0;
}
static int create_stream(struct stream** s, int blocking) {
  *s = calloc(1, sizeof **s);
  (*s)->device = device; (*s)->blocking = blocking;
  pthread_mutex_lock(&lock);
  (*s)->next = streams; streams = *s;
  pthread_mutex_unlock(&lock);
  return 0;
}
int fake_cudaStreamCreate(void** s) { return create_stream((struct stream**)s, 1); }
int fake_cudaStreamCreateWithFlags(void** s, unsigned f) { return create_stream((struct stream**)s, !(f & 1)); }
int fake_cudaStreamCreateWithPriority(void** s, unsigned f, int p) { (void)p; return fake_cudaStreamCreateWithFlags(s, f); }
int fake_cudaStreamDestroy(struct stream* s) {
  pthread_mutex_lock(&lock);
  struct stream** p = &streams;
  while (*p && *p != s) p = &(*p)->next;
  if (*p) { *p = s->next; free(s); }
  pthread_mutex_unlock(&lock);
  return 0;
}
int fake_cudaDeviceSynchronize(void) { LOG("sync device"); int e = unsafe(1); if (!e) fake_cuda_catch_up(); return e; }
int fake_cudaStreamSynchronize(struct stream* s) {
  LOG("sync stream");
  struct capture* c = capture_of(s);
  if (c) { c->invalid = 1; return fail(CAPTURE_UNSUPPORTED); }
  int e = check_stream(s);
  if (!e) fake_cuda_catch_up();
  return e;
}
static int query(void) { if (!queue.first) return 0; fake_cuda_catch_up(); return NOT_READY; }
int fake_cudaStreamQuery(void* s) { (void)s; return query(); }
int fake_cudaEventQuery(void* e) { (void)e; return query(); }
int fake_cudaEventCreate(struct event** e) { *e = calloc(1, sizeof **e); (*e)->device = device; return 0; }
int fake_cudaEventCreateWithFlags(struct event** e, unsigned f) { (void)f; return fake_cudaEventCreate(e); }
int fake_cudaEventDestroy(void* e) { free(e); return 0; }
int fake_cudaEventRecord(struct event* e, struct stream* s) {
  if (e->device != device) return fail(INVALID_HANDLE);
  int error = check_stream(s);
  e->capture = capture_of(s);
  return error;
}
int fake_cudaEventSynchronize(struct event* e) {
  LOG("sync event");
  if (e->capture) { e->capture->invalid = 1; return fail(CAPTURE_UNSUPPORTED); }
  fake_cuda_catch_up();
  return 0;
}
int fake_cudaEventElapsedTime(float* f, void* a, void* b) { *f = 0; (void)a; (void)b; return 0; }
int fake_cudaStreamWaitEvent(struct stream* s, struct event* e, unsigned f) {
  (void)f;
  if (!e->capture) return 0;
  if ((uintptr_t)s <= 2) return fail(CAPTURE_UNSUPPORTED);
  s->capture = e->capture;      /* the stream joins the capture */
  return 0;
}
static void host_function(void* data) { void** d = data; ((void (*)(void*))d[0])(d[1]); }
int fake_cudaLaunchHostFunc(void* s, void (*f)(void*), void* arg) {
  void* data[2] = {(void*)f, arg};
  LOG("host");
  return fake_cuda_enqueue(s, host_function, data, sizeof data);
}
int fake_cudaStreamIsCapturing(struct stream* s, int* status) {
  int e = (uintptr_t)s < 2 ? check_stream(s) : 0;
  struct capture* c = capture_of(s);
  *status = c ? 1 + c->invalid : 0;
  return e;
}
int fake_cudaStreamBeginCapture(struct stream* s, int mode) {
  if ((uintptr_t)s <= 2 || s->capture) return fail(CAPTURE_UNSUPPORTED);
  struct capture* c = calloc(1, sizeof *c);
  c->graph = calloc(1, sizeof *c->graph);
  c->graph->users = 1; c->mode = mode;
  c->next = captures;
  captures = s->capture = c;
  LOG("capture begin");
  return 0;
}
int fake_cudaStreamEndCapture(struct stream* s, struct graph** g) {
  struct capture *c = capture_of(s), **p = &captures;
  *g = 0;
  if (!c) return fail(CAPTURE_UNMATCHED);
  while (*p != c) p = &(*p)->next;
  *p = c->next;
  for (struct stream* t = streams; t; t = t->next) if (t->capture == c) t->capture = 0;
  LOG("capture end %d", c->graph->count);
  if (c->invalid) { drop(c->graph); return fail(CAPTURE_INVALIDATED); }
  *g = c->graph;                /* c itself stays: events may still name it */
  return 0;
}
int fake_cudaGraphInstantiate(struct graph** x, struct graph* g, unsigned long long f) { (void)f; *x = g; g->users++; return 0; }
int fake_cudaGraphDestroy(struct graph* g) { drop(g); return 0; }
int fake_cudaGraphExecDestroy(struct graph* g) { fake_cuda_catch_up(); drop(g); return 0; }
int fake_cudaGraphUpload(struct graph* g, void* s) { (void)g; (void)s; return 0; }
static void replay(void* data) {
  for (struct work* w = (*(struct graph**)data)->first; w; w = w->next) w->run(w->data);
}
int fake_cudaGraphLaunch(struct graph* g, void* s) {
  LOG("graph %d", g->count);
  if (capture_of(s)) g->users++;        /* it lives in another graph from now on */
  return fake_cuda_enqueue(s, replay, &g, sizeof g);
}

/* ---- memory ---- */

struct block { char* at; size_t size; int device; struct block* next; };   /* device -1: pinned on the host */
static struct block* blocks;

static struct block* block_of(const void* p) {
  for (struct block* b = blocks; b; b = b->next)
    if ((char*)p >= b->at && (char*)p < b->at + b->size) return b;
  return 0;
}
int fake_cuda_device_of(const void* p) {
  pthread_mutex_lock(&lock);
  struct block* b = block_of(p);
  int d = b ? b->device : -2;
  pthread_mutex_unlock(&lock);
  return d;
}
int fake_cuda_device(void) { return device; }
static int allocate(void** p, size_t n, int d) {
  struct block* b = malloc(sizeof *b);
  *p = aligned_alloc(512, (n + 512) / 512 * 512);
  if (!*p) { free(b); return fail(OUT_OF_MEMORY); }
  if (d >= 0) memset(*p, 0xff, n);      /* not-a-number, until something is written */
  *b = (struct block){*p, n ? n : 1, d, 0};
  pthread_mutex_lock(&lock);
  b->next = blocks; blocks = b;
  pthread_mutex_unlock(&lock);
  return 0;
}
static int release(void* p) {
  if (!p) return 0;
  fake_cuda_catch_up();
  pthread_mutex_lock(&lock);
  struct block** b = &blocks;
  while (*b && (*b)->at != p) b = &(*b)->next;
  struct block* found = *b;
  if (found) { *b = found->next; free(found->at); free(found); }
  pthread_mutex_unlock(&lock);
  return found ? 0 : fail(INVALID_VALUE);
}
int fake_cudaMemGetInfo(size_t* f, size_t* t) { *f = *t = (size_t)8 << 30; return 0; }
int fake_cudaMalloc(void** p, size_t n) { LOG("malloc %zu", n); int e = unsafe(0); return e ? e : allocate(p, n, device); }
int fake_cudaMallocAsync(void** p, size_t n, void* s) { (void)s; LOG("malloc %zu", n); return allocate(p, n, device); }
int fake_cudaMallocManaged(void** p, size_t n, unsigned f) { (void)f; return fake_cudaMalloc(p, n); }
int fake_cudaHostAlloc(void** p, size_t n, unsigned f) { (void)f; LOG("pinned %zu", n); int e = unsafe(0); return e ? e : allocate(p, n, -1); }
int fake_cudaFree(void* p) { int e = unsafe(0); return e ? e : release(p); }
int fake_cudaFreeAsync(void* p, void* s) { (void)s; return release(p); }
int fake_cudaFreeHost(void* p) { return release(p); }
int fake_cudaPointerGetAttributes(void* a, const void* p) {
  struct { int type, device; const void *on_device, *on_host; } *q = a;
  int d = fake_cuda_device_of(p);
  q->type = d == -2 ? 0 : d == -1 ? 1 : 2;
  q->device = d < 0 ? device : d;
  q->on_device = p; q->on_host = d < 0 ? p : 0;
  return 0;
}
struct copy { char* to; const char* from; size_t n; int value; char held[]; };
static void copy(void* data) { struct copy* c = data; memmove(c->to, c->from, c->n); }
static void copy_held(void* data) { struct copy* c = data; memcpy(c->to, c->held, c->n); }
static void fill(void* data) { struct copy* c = data; memset(c->to, c->value, c->n); }
static int do_copy(void* to, const void* from, size_t n, int kind, void* s, int wait) {
  static const char* names[] = {"h2h", "h2d", "d2h", "d2d", "any"};
  int a = fake_cuda_device_of(to), b = fake_cuda_device_of(from), e;
  if (kind == 4) kind = (a >= 0 ? 1 : 0) + (b >= 0 ? 2 : 0);
  if (n && (((kind & 1) && a < 0) || ((kind & 2) && b < 0))) return fail(INVALID_VALUE);
  LOG("copy %s %zu %s", names[kind], n, wait ? "sync" : "async");
  if (wait && (e = unsafe(0))) return e;
  struct copy c = {to, from, n, 0};
  if (late && b == -2 && !wait && !capture_of(s)) {   /* pageable: the host may reuse it at once */
    struct copy* held = malloc(sizeof c + n);
    *held = c;
    memcpy(held->held, from, n);
    e = fake_cuda_enqueue(s, copy_held, held, sizeof c + n);
    free(held);
  } else {
    e = fake_cuda_enqueue(s, copy, &c, sizeof c);
  }
  if (wait || (a == -2 && !capture_of(s))) fake_cuda_catch_up();
  return e;
}
int fake_cudaMemcpy(void* d, const void* s, size_t n, int k) { return do_copy(d, s, n, k, 0, 1); }
int fake_cudaMemcpyAsync(void* d, const void* s, size_t n, int k, void* st) { return do_copy(d, s, n, k, st, 0); }
int fake_cudaMemcpyPeer(void* d, int i, const void* s, int j, size_t n) { (void)i; (void)j; return do_copy(d, s, n, 3, 0, 1); }
int fake_cudaMemcpyPeerAsync(void* d, int i, const void* s, int j, size_t n, void* st) { (void)i; (void)j; return do_copy(d, s, n, 3, st, 0); }
int fake_cudaMemsetAsync(void* d, int v, size_t n, void* s) {
  struct copy c = {d, 0, n, v};
  LOG("memset %zu", n);
  return fake_cuda_enqueue(s, fill, &c, sizeof c);
}
int fake_cudaMemset(void* d, int v, size_t n) { return fake_cudaMemsetAsync(d, v, n, 0); }

/* ---- kernels: g++ made a library of each module, see fake_cuda.py and device.h ---- */

struct dim { unsigned x, y, z; } threadIdx, blockIdx, blockDim, gridDim;
char* fake_shared;
uint64_t fake_slots[1024];
enum { READY, AT_WARP, AT_BLOCK, DONE };
static void *fiber_stack[1024], *fiber[1024], *scheduler;
static char state[1024];
static int current;
static void (*kernel)(void**);
static void** arguments;
void fake_switch(void** save, void* load);
__asm__(".text\n.globl fake_switch\n.type fake_switch,@function\nfake_switch:\n"
        "push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\nmov %rsp,(%rdi)\nmov %rsi,%rsp\n"
        "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\npop %rcx\njmp *%rcx\n");

int fake_thread(void) { return current; }
void fake_wait(int where) { state[current] = where; fake_switch(&fiber[current], scheduler); }
static void fiber_main(void) { kernel(arguments); fake_wait(DONE); }
static void place(int t) {
  current = t;
  if (t < (int)blockDim.x) threadIdx = (struct dim){t, 0, 0};
  else threadIdx = (struct dim){t % blockDim.x, t / blockDim.x % blockDim.y, t / blockDim.x / blockDim.y};
}
/* The threads of a block in turn, each up to its next barrier. */
static void run_block(int n) {
  enum { STACK = 1 << 17 };
  for (int t = 0; t < n; t++) {
    if (!fiber_stack[t])
      fiber_stack[t] = mmap(0, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    void** top = (void**)((char*)fiber_stack[t] + STACK) - 1;       /* as after a call */
    *--top = (void*)fiber_main;
    fiber[t] = top - 6;
    state[t] = READY;
  }
  for (int left = n; left;) {
    for (int w = 0; w < n; w += 32)
      for (int again = 1; again;) {
        again = 0;
        for (int t = w; t < n && t < w + 32; t++)
          if (state[t] == READY) {
            place(t);
            fake_switch(&scheduler, fiber[t]);
            left -= state[t] == DONE;
          }
        for (int t = w; t < n && t < w + 32; t++) if (state[t] == AT_WARP) state[t] = READY, again = 1;
      }
    for (int t = 0; t < n; t++) if (state[t] == AT_BLOCK) state[t] = READY;
  }
}
struct function { void (*run)(void**); const unsigned* sizes; int flags, device; char name[200]; };
struct launch { struct function* f; struct dim grid, block; unsigned shared, count; char values[]; };
enum { FLAT = 1, BARRIERS = 2, FTZ = 4 };

static void run_launch(void* data) {
  struct launch* l = data;
  void* pointers[256];
  char* v = l->values;
  for (unsigned i = 0; i < l->count; i++) { pointers[i] = v; v += (l->f->sizes[i] + 15) / 16 * 16; }
  struct dim one = {1, 1, 1};
  int flat = l->f->flags & FLAT;        /* indifferent to the grid: a single thread does it all */
  gridDim = flat ? one : l->grid;
  blockDim = flat ? one : l->block;
  int n = blockDim.x * blockDim.y * blockDim.z;
  unsigned mode = __builtin_ia32_stmxcsr();
  if (l->f->flags & FTZ) __builtin_ia32_ldmxcsr(mode | 0x8040);
  fake_shared = l->shared ? aligned_alloc(512, (l->shared + 511) / 512 * 512) : 0;
  kernel = l->f->run; arguments = pointers;
  for (unsigned z = 0; z < gridDim.z; z++)
    for (unsigned y = 0; y < gridDim.y; y++)
      for (unsigned x = 0; x < gridDim.x; x++) {
        blockIdx = (struct dim){x, y, z};
        if (l->f->flags & BARRIERS) run_block(n);
        else for (int t = 0; t < n; t++) { place(t); kernel(pointers); }
      }
  free(fake_shared);
  __builtin_ia32_ldmxcsr(mode);
}
int cuLaunchKernel(struct function* f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void* s, void** params, void** extra) {
  (void)extra;
  if (f->device != device) return INVALID_HANDLE;
  if (bx * by * bz > 1024 || shared > 232448) return INVALID_VALUE;
  size_t size = sizeof(struct launch), n = 0;
  while (f->sizes[n]) size += (f->sizes[n++] + 15) / 16 * 16;
  struct launch* l = __builtin_alloca_with_align(size, 128);
  *l = (struct launch){f, {gx, gy, gz}, {bx, by, bz}, shared, n};
  char* v = l->values;
  for (size_t i = 0; i < n; i++) { memcpy(v, params[i], f->sizes[i]); v += (f->sizes[i] + 15) / 16 * 16; }
  LOG("launch %s %ux%u", f->name, gx * gy * gz, bx * by * bz);
  return fake_cuda_enqueue(s, run_launch, l, size);
}
int cuModuleLoadData(void** m, const char* image) {
  if (strncmp(image, "fake_cuda ", 10)) return NOT_SUPPORTED;
  *m = dlopen(image + 10, RTLD_NOW | RTLD_LOCAL);
  if (!*m) { fprintf(stderr, "fake_cuda: %s\n", dlerror()); return NOT_FOUND; }
  LOG("module");
  return 0;
}
int cuModuleUnload(void* m) { (void)m; return 0; }      /* a graph may still hold its kernels */
int cuModuleGetFunction(struct function** f, void* m, const char* name) {
  char symbol[256];
  snprintf(symbol, sizeof symbol, "fake_entry_%s", name);
  struct { void (*run)(void**); const unsigned* sizes; int flags; } *entry = dlsym(m, symbol);
  if (!entry) return NOT_FOUND;
  *f = calloc(1, sizeof **f);
  **f = (struct function){entry->run, entry->sizes, entry->flags, device, ""};
  strncpy((*f)->name, name, sizeof (*f)->name - 1);
  return 0;
}
int cuModuleGetGlobal_v2(void** p, size_t* n, void* m, const char* name) { (void)n; *p = dlsym(m, name); return *p ? 0 : NOT_FOUND; }
int cuModuleGetGlobal(void** p, size_t* n, void* m, const char* name) { return cuModuleGetGlobal_v2(p, n, m, name); }
int cuFuncGetAttribute(int* v, int a, void* f) { (void)f; *v = a == 0 ? 1024 : 0; return 0; }
int cuFuncSetAttribute(void* f, int a, int v) { (void)f; (void)a; (void)v; return 0; }
int cuInit(unsigned f) { (void)f; return 0; }
int cuDriverGetVersion(int* v) { return fake_cudaDriverGetVersion(v); }
int cuCtxGetCurrent(void** c) { *c = (void*)(uintptr_t)(device + 1); return 0; }
int cuCtxSetCurrent(void* c) { return fake_cudaSetDevice((int)(uintptr_t)c - 1); }
int cuCtxGetDevice(int* d) { *d = device; return 0; }
int cuDevicePrimaryCtxRelease(int d) { (void)d; return 0; }
int cuDevicePrimaryCtxRelease_v2(int d) { (void)d; return 0; }
int cuStreamGetCtx(struct stream* s, void** c) { *c = (void*)(uintptr_t)(((uintptr_t)s > 2 ? s->device : device) + 1); return 0; }

/* ---- into CuPy: a jump over the start of each function of the runtime that is linked into it ---- */

struct patch { unsigned long offset; void* to; };
int fake_cuda_patch(char* base, const struct patch* p) {
  int n = 0;
  for (; p->to; p++, n++) {
    char* at = base + p->offset;
    char* page = (char*)((uintptr_t)at & ~(uintptr_t)4095);
    size_t size = at + 12 - page;
    unsigned char jump[12] = {0x48, 0xb8, [10] = 0xff, [11] = 0xe0};   /* mov to, rax; jmp rax */
    memcpy(jump + 2, &p->to, 8);
    if (mprotect(page, size, PROT_READ | PROT_WRITE)) return -1;
    memcpy(at, jump, sizeof jump);
    mprotect(page, size, PROT_READ | PROT_EXEC);
  }
  return n;
}
