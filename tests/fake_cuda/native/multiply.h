/* One product, for the type REAL. cublas.c includes this once for each type.

   C = alpha op(A) op(B) + beta C, column by column as cuBLAS stores matrices. Each entry is a plain
   sum in the order of k: -ffp-contract=off keeps multiplication and addition apart, and the inner
   loop goes over entries, so the compiler may use vectors without changing a sum. */

__attribute__((optimize("O3"), target_clones("avx2", "default"))) static void
MULTIPLY(const struct product* p, const REAL* A, const REAL* B, REAL* C) {
    size_t m = p->m;
    size_t n = p->n;
    size_t k = p->k;
    /* malloc(0) may return 0, so one entry more */
    REAL* columns = malloc((m * k + 1) * sizeof(REAL)); /* op(A), column by column */
    REAL* sums = malloc((m + 1) * sizeof(REAL));
    for (size_t l = 0; l < k; l++)
        for (size_t i = 0; i < m; i++)
            columns[l * m + i] = p->transpose_a ? A[i * p->lda + l] : A[l * p->lda + i];
    for (size_t j = 0; j < n; j++) {
        for (size_t i = 0; i < m; i++)
            sums[i] = 0;
        for (size_t l = 0; l < k; l++) {
            REAL factor = p->transpose_b ? B[l * p->ldb + j] : B[j * p->ldb + l];
            const REAL* column = columns + l * m;
            for (size_t i = 0; i < m; i++)
                sums[i] += column[i] * factor;
        }
        REAL* result = C + j * p->ldc;
        for (size_t i = 0; i < m; i++) {
            REAL scaled = (REAL)p->alpha * sums[i];
            /* with beta = 0 C may be NaN, and is not read */
            result[i] = p->beta == 0 ? scaled : scaled + (REAL)p->beta * result[i];
        }
    }
    free(columns);
    free(sums);
}
