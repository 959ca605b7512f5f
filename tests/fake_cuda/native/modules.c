/* Modules and their functions. The "binary" of a module is the path of the library that g++ made of
   its source, see python/fake_cuda_kernels.py. */
#define _GNU_SOURCE
#include "kernels.h"
#include "fake_cuda.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char MAGIC[] = "fake_cuda ";

int cuModuleLoadData(void** module, const char* image) {
    size_t length = strlen(MAGIC);
    if (strncmp(image, MAGIC, length) != 0)
        return cudaErrorNotSupported;
    *module = dlopen(image + length, RTLD_NOW | RTLD_LOCAL);
    if (!*module) {
        fprintf(stderr, "fake_cuda: a kernel cannot be loaded: %s\n", dlerror());
        return cudaErrorSymbolNotFound;
    }
    fake_cuda_log("module");
    return cudaSuccess;
}

/* The library stays: a graph may still hold its kernels. */
int cuModuleUnload(void* module) {
    (void)module;
    return cudaSuccess;
}

int cuModuleGetFunction(struct function** found, void* module, const char* name) {
    char symbol[256];
    snprintf(symbol, sizeof symbol, "fake_entry_%s", name);
    const struct entry* entry = dlsym(module, symbol);
    if (!entry)
        return cudaErrorSymbolNotFound;
    struct function* function = calloc(1, sizeof *function);
    function->entry = *entry;
    function->device = fake_cuda_current_device;
    snprintf(function->name, sizeof function->name, "%s", name);
    *found = function;
    return cudaSuccess;
}

int cuModuleGetGlobal_v2(void** address, size_t* size, void* module, const char* name) {
    (void)size;
    *address = dlsym(module, name);
    return *address ? cudaSuccess : cudaErrorSymbolNotFound;
}

int cuModuleGetGlobal(void** address, size_t* size, void* module, const char* name) {
    return cuModuleGetGlobal_v2(address, size, module, name);
}

int cuFuncGetAttribute(int* value, int attribute, struct function* function) {
    enum { CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK = 0 };
    (void)function;
    *value = attribute == CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK ? 1024 : 0;
    return cudaSuccess;
}

int cuFuncSetAttribute(struct function* function, int attribute, int value) {
    (void)function;
    (void)attribute;
    (void)value;
    return cudaSuccess;
}
