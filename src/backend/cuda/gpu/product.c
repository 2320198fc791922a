/* Matrix products by cuBLASLt, whose algorithms are chosen per shape: by trial where there is time for it (product_plan), else by its own
 * expectation; by cuBLAS where that is faster or nothing else serves. */
#include <stdio.h>
#include <stdlib.h>

#include "backend/cuda/gpu/gpu.h"

enum { MOST_ALGORITHMS = 8, ROUNDS = 3, BY_BLAS = -1 };
/* What NVIDIA advises for Hopper; taken once, so that no pass takes memory. */
#define PRODUCT_SPACE ((size_t)32 << 20)

/* The shape of a product, and what it is computed by: number `choice` of cuBLASLt's list, or BY_BLAS. */
struct shape_key { bool ta, tb, add; int m, n, k; enum element factor, result; ptrdiff_t lda, ldb, ldc; int alignment; };
struct way { struct shape_key key; int choice; cublasLtMatmulAlgo_t algorithm; };

struct products {
    cublasLtHandle_t lt;
    void *space;
    struct way *way;
    size_t n, cap;
};

static bool failed(struct device *d, cublasStatus_t st) {
    if (st == CUBLAS_STATUS_SUCCESS) return false;
    device_fault(d, ST_BACKEND, "GPU: cuBLAS: %s", cublasGetStatusString(st));
    return true;
}

static cudaDataType_t type_of(enum element e) { return e == ELEMENT_HALF ? CUDA_R_16F : e == ELEMENT_BRAIN ? CUDA_R_16BF : CUDA_R_32F; }
static size_t size_of(enum element e) { return e == ELEMENT_REAL ? sizeof(float) : sizeof(uint16_t); }

/* Factors of 16 bits are multiplied as they are; floats as the precision has it. */
static cublasComputeType_t compute_of(enum precision p, const struct product *x) {
    static const cublasComputeType_t type[] = { CUBLAS_COMPUTE_32F, CUBLAS_COMPUTE_32F_FAST_TF32, CUBLAS_COMPUTE_32F_FAST_16BF, CUBLAS_COMPUTE_32F_FAST_16F };
    return x->factor == ELEMENT_REAL ? type[p] : CUBLAS_COMPUTE_32F;
}

/* --- By cuBLASLt ------------------------------------------------------------------------------------------------------------------- */

struct descriptors { cublasLtMatmulDesc_t how; cublasLtMatrixLayout_t a, b, c; };

static void descriptors_drop(struct descriptors *x) {
    if (x->how) cublasLtMatmulDescDestroy(x->how);
    if (x->a) cublasLtMatrixLayoutDestroy(x->a);
    if (x->b) cublasLtMatrixLayoutDestroy(x->b);
    if (x->c) cublasLtMatrixLayoutDestroy(x->c);
}

/* cuBLAS counts by columns: the transposed product of what is meant, so the factors change places: its first one is our b. */
static cublasStatus_t describe(enum precision precision, const struct product *p, struct descriptors *x) {
    cublasOperation_t first = p->tb ? CUBLAS_OP_T : CUBLAS_OP_N, second = p->ta ? CUBLAS_OP_T : CUBLAS_OP_N;
    uint64_t n = (uint64_t)p->n, m = (uint64_t)p->m, k = (uint64_t)p->k;
    *x = (struct descriptors){ 0 };
    cublasStatus_t st = cublasLtMatmulDescCreate(&x->how, compute_of(precision, p), CUDA_R_32F);
    if (st == CUBLAS_STATUS_SUCCESS) st = cublasLtMatmulDescSetAttribute(x->how, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first);
    if (st == CUBLAS_STATUS_SUCCESS) st = cublasLtMatmulDescSetAttribute(x->how, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second);
    if (st == CUBLAS_STATUS_SUCCESS) st = cublasLtMatrixLayoutCreate(&x->a, type_of(p->factor), p->tb ? k : n, p->tb ? n : k, p->ldb);
    if (st == CUBLAS_STATUS_SUCCESS) st = cublasLtMatrixLayoutCreate(&x->b, type_of(p->factor), p->ta ? m : k, p->ta ? k : m, p->lda);
    if (st == CUBLAS_STATUS_SUCCESS) st = cublasLtMatrixLayoutCreate(&x->c, type_of(p->result), n, m, p->ldc);
    return st;
}

static cublasStatus_t by_lt(struct device *d, const struct product *p, const struct descriptors *x, const cublasLtMatmulAlgo_t *algorithm) {
    struct gpu *g = d->own;
    const float one = 1;
    return cublasLtMatmul(g->products->lt, x->how, &one, p->b, x->a, p->a, x->b, &p->beta, p->c, x->c, p->c, x->c, algorithm, g->products->space,
                          PRODUCT_SPACE, g->stream);
}

static size_t alignment_to(int alignment, enum element e) { return (size_t)alignment < size_of(e) ? size_of(e) : (size_t)alignment; }

/* cuBLASLt's list for addresses that `alignment` divides, best first, of those that add in one order; returns how many. */
static int algorithms(struct device *d, const struct product *p, const struct descriptors *x, int alignment, cublasLtMatmulHeuristicResult_t list[MOST_ALGORITHMS]) {
    struct gpu *g = d->own;
    cublasLtMatmulPreference_t wish = NULL;
    size_t space = PRODUCT_SPACE;
    uint32_t factors = (uint32_t)alignment_to(alignment, p->factor), results = (uint32_t)alignment_to(alignment, p->result), schemes = CUBLASLT_REDUCTION_SCHEME_MASK & ~(uint32_t)CUBLASLT_REDUCTION_SCHEME_INPLACE;
    int n = 0;
    cublasStatus_t st = cublasLtMatmulPreferenceCreate(&wish);
    if (st == CUBLAS_STATUS_SUCCESS) st = cublasLtMatmulPreferenceSetAttribute(wish, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &space, sizeof space);
    if (st == CUBLAS_STATUS_SUCCESS) st = cublasLtMatmulPreferenceSetAttribute(wish, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &schemes, sizeof schemes);
    for (int i = 0; i < 4 && st == CUBLAS_STATUS_SUCCESS; ++i) {
        static const cublasLtMatmulPreferenceAttributes_t name[] = { CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                                                                     CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES };
        st = cublasLtMatmulPreferenceSetAttribute(wish, name[i], i < 2 ? &factors : &results, sizeof factors);
    }
    if (st == CUBLAS_STATUS_SUCCESS && cublasLtMatmulAlgoGetHeuristic(g->products->lt, x->how, x->a, x->b, x->c, x->c, wish, MOST_ALGORITHMS, list, &n) != CUBLAS_STATUS_SUCCESS)
        n = 0;
    if (wish) cublasLtMatmulPreferenceDestroy(wish);
    return n;
}

/* --- By cuBLAS ---------------------------------------------------------------------------------------------------------------------- */

/* 64-bit counts: rows times their step may be more than an int holds. */
static cublasStatus_t by_blas(struct device *d, const struct product *p) {
    const float one = 1;
    return cublasGemmEx_64(((struct gpu *)d->own)->blas, p->tb ? CUBLAS_OP_T : CUBLAS_OP_N, p->ta ? CUBLAS_OP_T : CUBLAS_OP_N, p->n, p->m, p->k, &one, p->b,
                        type_of(p->factor), p->ldb, p->a, type_of(p->factor), p->lda, &p->beta, p->c, type_of(p->result), p->ldc,
                        compute_of(d->precision, p), CUBLAS_GEMM_DEFAULT);
}

/* --- Choosing ------------------------------------------------------------------------------------------------------------------------ */

/* 16 where that divides all three addresses, else an element's size: parameters lie anywhere, as do the channels of a group. */
static int least_alignment(const struct product *p) { return (int)(size_of(p->factor) < size_of(p->result) ? size_of(p->factor) : size_of(p->result)); }
static int alignment_of(const struct product *p) {
    return ((uintptr_t)p->a | (uintptr_t)p->b | (uintptr_t)p->c) % 16 ? least_alignment(p) : 16;
}

static struct shape_key key_of(const struct product *p, int alignment) {
    struct shape_key key;
    memset(&key, 0, sizeof key);
    key.ta = p->ta, key.tb = p->tb, key.add = p->beta != 0;
    key.m = p->m, key.n = p->n, key.k = p->k;
    key.factor = p->factor, key.result = p->result;
    key.lda = p->lda, key.ldb = p->ldb, key.ldc = p->ldc;
    key.alignment = alignment;
    return key;
}

static struct way *way_of(struct products *all, const struct shape_key *key) {
    for (size_t i = 0; i < all->n; ++i)
        if (memcmp(&all->way[i].key, key, sizeof *key) == 0) return &all->way[i];
    return NULL;
}

static struct way *add_way(struct products *all, const struct shape_key *key, int choice, const cublasLtMatmulAlgo_t *algorithm) {
    struct ctx quiet = { 0 };
    if (mem_grow(&quiet, &all->way, &all->cap, all->n + 1, sizeof *all->way) != ST_OK) return NULL;
    struct way *w = &all->way[all->n++];
    memset(w, 0, sizeof *w);
    w->key = *key;
    w->choice = choice;
    if (algorithm) w->algorithm = *algorithm;
    return w;
}

static float time_of(struct device *d, const struct product *p, const struct descriptors *x, const cublasLtMatmulAlgo_t *algorithm) {
    struct gpu *g = d->own;
    cudaEvent_t from = NULL, to = NULL;
    float ms = -1;
    bool ok = cudaEventCreate(&from) == cudaSuccess && cudaEventCreate(&to) == cudaSuccess;
    for (int i = 0; i <= ROUNDS && ok; ++i) { /* the first one warms up */
        ok = (algorithm ? by_lt(d, p, x, algorithm) : by_blas(d, p)) == CUBLAS_STATUS_SUCCESS;
        if (i == 0) ok = ok && cudaEventRecord(from, g->stream) == cudaSuccess;
    }
    ok = ok && cudaEventRecord(to, g->stream) == cudaSuccess && cudaEventSynchronize(to) == cudaSuccess && cudaEventElapsedTime(&ms, from, to) == cudaSuccess;
    if (from) cudaEventDestroy(from);
    if (to) cudaEventDestroy(to);
    return ok ? ms : -1;
}

/* Room for one of each matrix, with numbers in it; false: there is none, or no need. */
static bool space_open(struct device *d, struct product *p, void **block) {
    size_t a = (size_t)(p->ta ? p->k : p->m) * (size_t)p->lda, b = (size_t)(p->tb ? p->n : p->k) * (size_t)p->ldb, c = (size_t)p->m * (size_t)p->ldc;
    a = (a * size_of(p->factor) + 255) / 256 * 256, b = (b * size_of(p->factor) + 255) / 256 * 256, c *= size_of(p->result);
    if (cudaMalloc(block, a + b + c) != cudaSuccess) {
        cudaGetLastError();
        return false;
    }
    ++d->allocations;
    cudaMemsetAsync(*block, 0x3c, a + b + c, ((struct gpu *)d->own)->stream);
    char *at = *block;
    p->a = at, p->b = at + a, p->c = at + a + b;
    return true;
}

/* What an earlier run chose, checked against the list as it is now: -2: not known. */
static int recall(struct device *d, const char *text, int n, const cublasLtMatmulHeuristicResult_t *list) {
    struct ctx quiet = { 0 };
    size_t size;
    int choice = -2, id = 0, own = 0;
    char *answer = store_get(&((struct gpu *)d->own)->store, &quiet, text, &size);
    if (!answer || sscanf(answer, "%d %d", &choice, &id) != 2 || choice < BY_BLAS || choice >= n) choice = -2;
    if (choice >= 0 && (cublasLtMatmulAlgoConfigGetAttribute(&list[choice].algo, CUBLASLT_ALGO_CONFIG_ID, &own, sizeof own, NULL) != CUBLAS_STATUS_SUCCESS || own != id))
        choice = -2;
    free(answer);
    return choice;
}

static void keep(struct device *d, const char *text, int choice, const cublasLtMatmulHeuristicResult_t *list) {
    struct ctx quiet = { 0 };
    char answer[64];
    int id = 0;
    if (choice >= 0) cublasLtMatmulAlgoConfigGetAttribute(&list[choice].algo, CUBLASLT_ALGO_CONFIG_ID, &id, sizeof id, NULL);
    int n = snprintf(answer, sizeof answer, "%d %d\n", choice, id);
    store_put(&((struct gpu *)d->own)->store, &quiet, text, answer, (size_t)n);
}

/* The fastest by trial, or where that is impossible the first. */
static int fastest(struct device *d, const struct product *asked, const struct descriptors *x, int n, const cublasLtMatmulHeuristicResult_t *list, bool *tried) {
    struct product p = *asked;
    void *block = NULL;
    *tried = space_open(d, &p, &block);
    if (!*tried) return n > 0 ? 0 : BY_BLAS;
    int best = BY_BLAS;
    float least = time_of(d, &p, x, NULL);
    for (int i = 0; i < n; ++i) {
        float ms = time_of(d, &p, x, &list[i].algo);
        if (ms < 0 || (least >= 0 && ms >= least)) continue;
        least = ms;
        best = i;
    }
    cudaFree(block);
    return best;
}

void gpu_product_plan(struct device *d, const struct product *p) {
    struct gpu *g = d->own;
    /* Addresses are not known yet: an alignment of 16 for what the backend allocates, an element's where parameters are factors as they lie. */
    for (int i = 0; i < 2; ++i) {
        int alignment = i ? least_alignment(p) : 16;
        struct shape_key key = key_of(p, alignment);
        struct descriptors x;
        cublasLtMatmulHeuristicResult_t list[MOST_ALGORITHMS];
        char text[384];
        bool tried = false;
        if (d->failed || cudaSetDevice(g->number) != cudaSuccess || way_of(g->products, &key)) continue;
        snprintf(text, sizeof text, "%s|cuBLASLt %zu|%s|product %d%d%d %d %d %d|%td %td %td|%d|%d %d", g->name, cublasLtGetVersion(), precision_name(d->precision),
                 p->ta, p->tb, p->beta != 0, p->m, p->n, p->k, p->lda, p->ldb, p->ldc, alignment, (int)p->factor, (int)p->result);
        int n = describe(d->precision, p, &x) == CUBLAS_STATUS_SUCCESS ? algorithms(d, p, &x, alignment, list) : 0, choice = recall(d, text, n, list);
        if (choice == -2) {
            choice = fastest(d, p, &x, n, list, &tried);
            if (tried) keep(d, text, choice, list);
        }
        add_way(g->products, &key, choice, choice >= 0 ? &list[choice].algo : NULL);
        descriptors_drop(&x);
    }
}

/* A shape that was not planned: cuBLASLt's expectation. */
static struct way *new_way(struct device *d, const struct product *p, const struct shape_key *key, const struct descriptors *x) {
    cublasLtMatmulHeuristicResult_t list[MOST_ALGORITHMS];
    int n = algorithms(d, p, x, key->alignment, list);
    return add_way(((struct gpu *)d->own)->products, key, n > 0 ? 0 : BY_BLAS, n > 0 ? &list[0].algo : NULL);
}

void gpu_product(struct device *d, const struct product *p) {
    struct gpu *g = d->own;
    struct shape_key key = key_of(p, alignment_of(p));
    struct descriptors x;
    if (d->failed || cudaSetDevice(g->number) != cudaSuccess || p->m < 1 || p->n < 1 || p->k < 1) return;
    if (!failed(d, describe(d->precision, p, &x))) {
        struct way *w = way_of(g->products, &key);
        if (!w) w = new_way(d, p, &key, &x);
        failed(d, w && w->choice >= 0 ? by_lt(d, p, &x, &w->algorithm) : by_blas(d, p));
    }
    descriptors_drop(&x);
}

enum status gpu_products_open(struct ctx *ctx, struct device *d) {
    struct gpu *g = d->own;
    struct products *all = g->products = mem_zero(ctx, 1, sizeof *all);
    if (!all) return ST_MEMORY;
    all->space = d->ops->alloc(d, 2 * PRODUCT_SPACE); /* cuBLAS's beside cuBLASLt's: both may be in one noted pass */
    if (!all->space) return ctx_fail(ctx, ST_MEMORY, "GPU %d: out of memory: %.0f MB of workspace", g->number, 2 * (double)PRODUCT_SPACE / 1e6);
    cublasStatus_t st = cublasCreate(&g->blas);
    if (st == CUBLAS_STATUS_SUCCESS) st = cublasSetStream(g->blas, g->stream);
    if (st == CUBLAS_STATUS_SUCCESS) st = cublasSetWorkspace(g->blas, (char *)all->space + PRODUCT_SPACE, PRODUCT_SPACE);
    if (st == CUBLAS_STATUS_SUCCESS) st = cublasLtCreate(&all->lt);
    return st == CUBLAS_STATUS_SUCCESS ? ST_OK : ctx_fail(ctx, ST_BACKEND, "GPU %d: cuBLAS: %s", g->number, cublasGetStatusString(st));
}

void gpu_products_close(struct device *d) {
    struct gpu *g = d->own;
    if (!g->products) return;
    if (g->products->lt) cublasLtDestroy(g->products->lt);
    if (g->blas) cublasDestroy(g->blas);
    d->ops->free(d, g->products->space);
    free(g->products->way);
    free(g->products);
    g->products = NULL;
}
