/* Locally connected layers as matrix products, one per place of the output. */
#ifndef BACKEND_CPU_LOCAL_H
#define BACKEND_CPU_LOCAL_H

#include "backend/backend.h"

/* Overlays the table's local operations; only where the products' library is there. */
void cpu_local_products(struct backend_ops *);

#endif
