# What GPU=1 adds to the Makefile: the CUDA toolkit, the cards it compiles for, the sources that know it.
ifeq ($(NVCC),)
NVCC := $(firstword $(shell command -v nvcc 2>/dev/null) $(wildcard $(CUDA)/bin/nvcc /usr/local/cuda/bin/nvcc /opt/cuda/bin/nvcc))
endif
ifeq ($(NVCC),)
$(error GPU=1: no nvcc found; install the CUDA toolkit, or name it: NVCC=/path/to/bin/nvcc)
endif
ifeq ($(CUDA),)
CUDA := $(patsubst %/bin/,%,$(dir $(realpath $(NVCC))))
endif

# Turing to Blackwell, as far as this toolkit goes, and intermediate code of the newest for cards to come.
KNOWN := $(filter 75 80 86 89 90 100 120,$(patsubst compute_%,%,$(shell $(NVCC) --list-gpu-arch)))
ARCH ?= $(foreach a,$(KNOWN),-gencode arch=compute_$a,code=sm_$a) -gencode arch=compute_$(lastword $(KNOWN)),code=compute_$(lastword $(KNOWN))

GPU_KERNELS := src/backend/cuda/gpu/device.cu
GPU_SRC := src/backend/cuda/gpu/product.c src/backend/cuda/gpu/conv_none.c
GPU_INSTEAD := src/backend/cuda/none.c
CPPFLAGS += -isystem $(CUDA)/include
# Functions of kernels are the device's as well as the host's (base/element_fn.h).
NVCC_FLAGS = -std=c++17 -O3 -D'ELEMENT_FN=static __host__ __device__ inline' -Isrc -Iinclude -Xcompiler -fPIC,-Wall,-Wextra $(if $(WERROR),--Werror all-warnings) --threads 0 $(if $(filter 1,$(CUDNN_HALF)),-DCUDNN_HALF) $(ARCH)
LDFLAGS += -L$(CUDA)/lib64 -Wl,-rpath,$(CUDA)/lib64
LDLIBS += -lcublasLt -lcublas -lcudart -lstdc++
MODE := $(MODE)-gpu
# Several GPUs: NCCL where it is (NCCL=0 leaves it out: they then meet in host memory).
NCCL ?= $(shell printf '\043include <nccl.h>\nint main(void) { return ncclGetErrorString(ncclSuccess) == NULL; }\n' | $(CC) $(CPPFLAGS) -x c - $(LDFLAGS) -lnccl -o /dev/null 2>/dev/null && echo 1 || echo 0)
ifeq ($(NCCL),1)
GPU_COLLECTIVE := src/backend/cuda/gpu/collective_nccl.c
LDLIBS += -lnccl
else
GPU_COLLECTIVE := src/backend/cuda/gpu/collective_none.c
MODE := $(MODE)-nonccl
$(info NCCL not found or left out: several GPUs will meet in host memory, which is slow)
endif
ifeq ($(CUDNN),1)
ifneq ($(shell printf '\043include <cudnn.h>\n\043if CUDNN_MAJOR < 9\n\043error old\n\043endif\nint main(void) { return 0; }\n' | $(CC) $(CPPFLAGS) -x c - $(LDFLAGS) -lcudnn -o /dev/null 2>/dev/null && echo yes),yes)
$(error CUDNN=1: cuDNN 9 not found beside $(CUDA); install it, or build with GPU=1 alone)
endif
GPU_SRC := $(addprefix src/backend/cuda/gpu/,product.c conv_cudnn.c graph_cudnn.c legacy_cudnn.c)
LDLIBS += -lcudnn
CPPFLAGS += -DHAVE_CUDNN
MODE := $(MODE)-cudnn$(if $(filter 1,$(CUDNN_HALF)),-half)
endif
GPU_SRC += $(GPU_COLLECTIVE)
