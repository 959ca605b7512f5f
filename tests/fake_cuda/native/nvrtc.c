/* libnvrtc.so.12, the compiler of kernels: it hands the source to python/fake_cuda_kernels.py,
   which calls g++. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum nvrtcResult {
    NVRTC_SUCCESS = 0,
    NVRTC_ERROR_COMPILATION = 6,
    NVRTC_ERROR_NAME_EXPRESSION_NOT_VALID = 10,
    NVRTC_ERROR_INTERNAL_ERROR = 11,
};

/* fake_cuda_kernels.py knows these two sizes. */
enum { RESULT_SIZE = 4096, LOG_SIZE = 16384 };

struct program {
    char* source;
    char result[RESULT_SIZE]; /* stands for the PTX and the CUBIN, both */
    char log[LOG_SIZE];
};

/* Writes either a result or a log; neither if Ctrl-C came while it compiled. */
typedef void compile_function(const char* source, const char* options, char* result, char* log);
static compile_function* compile;

void fake_cuda_set_compiler(compile_function* function) {
    compile = function;
}

const char* nvrtcGetErrorString(int error) {
    if (error == NVRTC_ERROR_COMPILATION)
        return "NVRTC_ERROR_COMPILATION";
    return "error of the stand-in for NVRTC";
}

int nvrtcVersion(int* major, int* minor) {
    *major = 12;
    *minor = 9;
    return NVRTC_SUCCESS;
}

int nvrtcGetNumSupportedArchs(int* count) {
    *count = 1;
    return NVRTC_SUCCESS;
}

int nvrtcGetSupportedArchs(int* architectures) {
    architectures[0] = 90;
    return NVRTC_SUCCESS;
}

int nvrtcCreateProgram(struct program** created, const char* source, const char* name,
                       int header_count, const char** headers, const char** header_names) {
    (void)name;
    (void)header_count;
    (void)headers;
    (void)header_names;
    *created = calloc(1, sizeof **created);
    (*created)->source = strdup(source);
    return NVRTC_SUCCESS;
}

int nvrtcDestroyProgram(struct program** program) {
    free((*program)->source);
    free(*program);
    *program = 0;
    return NVRTC_SUCCESS;
}

int nvrtcAddNameExpression(struct program* program, const char* name) {
    (void)program;
    (void)name;
    return NVRTC_ERROR_NAME_EXPRESSION_NOT_VALID; /* templates are not emulated */
}

int nvrtcCompileProgram(struct program* program, int count, const char** options) {
    size_t size = 1;
    for (int i = 0; i < count; i++)
        size += strlen(options[i]) + 1;
    char* lines = calloc(1, size);
    for (int i = 0; i < count; i++) {
        strcat(lines, options[i]);
        strcat(lines, "\n");
    }
    program->result[0] = 0;
    program->log[0] = 0;
    compile(program->source, lines, program->result, program->log);
    free(lines);
    if (program->result[0])
        return NVRTC_SUCCESS;
    if (program->log[0])
        return NVRTC_ERROR_COMPILATION;
    /* Python cannot raise its KeyboardInterrupt through C. The signal again, after this error,
       raises it in CuPy's code, which keeps nothing of a compilation that failed. */
    raise(SIGINT);
    return NVRTC_ERROR_INTERNAL_ERROR;
}

int nvrtcGetCUBINSize(struct program* program, size_t* size) {
    *size = strlen(program->result) + 1;
    return NVRTC_SUCCESS;
}

int nvrtcGetCUBIN(struct program* program, char* cubin) {
    strcpy(cubin, program->result);
    return NVRTC_SUCCESS;
}

int nvrtcGetPTXSize(struct program* program, size_t* size) {
    return nvrtcGetCUBINSize(program, size);
}

int nvrtcGetPTX(struct program* program, char* ptx) {
    return nvrtcGetCUBIN(program, ptx);
}

int nvrtcGetProgramLogSize(struct program* program, size_t* size) {
    *size = strlen(program->log) + 1;
    return NVRTC_SUCCESS;
}

int nvrtcGetProgramLog(struct program* program, char* log) {
    strcpy(log, program->log);
    return NVRTC_SUCCESS;
}
