/* How functions are declared that a device may run, too: the build names it for the compiler of device code (scripts/gpu.mk). */
#ifndef BASE_ELEMENT_FN_H
#define BASE_ELEMENT_FN_H

#ifndef ELEMENT_FN
#define ELEMENT_FN static inline
#endif

#endif
