/* CuPy has the CUDA runtime linked into its module runtime.so, so no other library can take its
   place by name. Instead the first bytes of each of its functions cudaX are written over, in memory
   only, with a jump to fake_cudaX. The table of both is made when the stand-in is built: nm tells
   where the functions lie in CuPy's file. */
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

enum { PAGE_SIZE = 4096, JUMP_SIZE = 12 };

struct patch {
    unsigned long offset; /* where the function to replace lies in the loaded file */
    void* target;         /* the function to jump to; 0 ends the table */
};

/* Returns 0, or -1 if the system does not let the code be changed. */
int fake_cuda_patch(char* base, const struct patch* patches) {
    for (const struct patch* patch = patches; patch->target; patch++) {
        char* code = base + patch->offset;
        char* page = (char*)((uintptr_t)code & ~(uintptr_t)(PAGE_SIZE - 1));
        size_t size = code + JUMP_SIZE - page;
        unsigned char jump[JUMP_SIZE] = {0x48, 0xb8, [10] = 0xff, [11] = 0xe0};
        memcpy(jump + 2, &patch->target, 8); /* mov target, %rax; jmp *%rax */
        if (mprotect(page, size, PROT_READ | PROT_WRITE))
            return -1;
        memcpy(code, jump, sizeof jump);
        if (mprotect(page, size, PROT_READ | PROT_EXEC))
            return -1;
    }
    return 0;
}
