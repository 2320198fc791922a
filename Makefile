# make                 build ./darknet and libdarknet.so for this machine's CPU
# make test            all tests (SANITIZE=1: under ASan and UBSan)
#                      (EMULATOR="qemu-aarch64-static -L /usr/aarch64-linux-gnu": those of a cross build, e.g. CC=aarch64-linux-gnu-gcc)
# make demo            the whole job on data it makes itself: train, score, prune, fine-tune, report
# make bench           timings; PEER=/path/to/darknet times another binary beside this one
# make install-deps    scripts/setup: the Debian/Ubuntu packages this needs
# make GPU=1 [CUDNN=1]  the same programs for NVIDIA GPUs as well; CUDNN=1: convolutions by cuDNN (else cuBLAS), CUDNN_HALF=1: by
#                      tensor cores on half precision; ARCH="-gencode arch=compute_86,code=sm_86" for one kind of card only
# make OPENCV=1         videos, cameras and windows (detector demo), by OpenCV 4
# Switches: V=1 shows the commands, DEPS=folder names include/ and lib/ of libraries beside the system's, ONEDNN=0 leaves oneDNN out, JPEG=0 libjpeg, EXPAT=0 libexpat, WERROR=1, DEBUG=1, CC=clang. AVX and OPENMP, known from Darknet, are always on.

CC ?= cc
ifneq ($(DEPS),)
CPPFLAGS += -I$(DEPS)/include
LDFLAGS += -L$(DEPS)/lib -Wl,-rpath,$(abspath $(DEPS))/lib
endif
# What cannot be left out; said in one line instead of a page of errors.
has = $(shell printf '\043include <$(1)>\nint main(void) { return 0; }\n' | $(CC) $(CPPFLAGS) -x c - $(LDFLAGS) $(3) -o /dev/null 2>/dev/null || echo $(2))
MISSING := $(call has,cjson/cJSON.h,libcjson-dev,-lcjson) $(call has,stb/stb_image.h,libstb-dev,-lm) $(call has,nettle/sha2.h,nettle-dev,-lnettle)
ifneq ($(strip $(MISSING)),)
$(if $(filter clean install-deps,$(MAKECMDGOALS)),,$(error missing: $(strip $(MISSING)); 'make install-deps' installs them))
endif
OPENMP_FLAG := $(shell printf '\043include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n' | $(CC) -fopenmp -x c - -o /dev/null 2>/dev/null && echo -fopenmp || echo -Wno-unknown-pragmas)
EXPAT ?= $(shell echo 'int main(void) { return XML_ExpatVersion() == NULL; }' | $(CC) $(CPPFLAGS) -include expat.h -x c - $(LDFLAGS) -lexpat -o /dev/null 2>/dev/null && echo 1 || echo 0)
ONEDNN ?= $(shell echo 'int main(void) { return dnnl_version() == NULL; }' | $(CC) $(CPPFLAGS) -include oneapi/dnnl/dnnl.h -x c - $(LDFLAGS) -ldnnl -o /dev/null 2>/dev/null && echo 1 || echo 0)
JPEG ?= $(shell printf '\043include <stdio.h>\n\043include <jpeglib.h>\nint main(void) { return jpeg_std_error(NULL) == NULL; }\n' | $(CC) $(CPPFLAGS) -x c - $(LDFLAGS) -ljpeg -o /dev/null 2>/dev/null && echo 1 || echo 0)

MACHINE := $(shell $(CC) -dumpmachine)
SET := $(if $(DEPS),-$(notdir $(abspath $(DEPS))))
MODE := release$(SET)
CFLAGS ?= -O3
CFLAGS += -std=gnu11 -Wall -Wextra -Wshadow -Wconversion -Wmissing-prototypes -fPIC $(OPENMP_FLAG) -ffp-contract=fast -fno-math-errno -fno-trapping-math
# GCC 12 for aarch64 breaks off ("internal compiler error") where it vectorises a loop over fmax.
ifneq ($(filter aarch64-%,$(MACHINE)),)
FMAX_FLAG := $(shell echo 'double f(const float *x, int n) { double m = 0; for (int i = 0; i < n; ++i) m = __builtin_fmax(m, x[i]); return m; }' | $(CC) -O3 -x c - -c -o /dev/null 2>/dev/null || echo -fno-builtin-fmax -fno-builtin-fmin)
CFLAGS += $(FMAX_FLAG)
endif
CPPFLAGS += -D_GNU_SOURCE -Isrc -Iinclude -MMD -MP
LDLIBS += -lcjson -lnettle -lm -pthread
ifeq ($(DEBUG),1)
MODE := debug$(SET)
CFLAGS += -O0 -g
endif
ifeq ($(SANITIZE),1)
MODE := sanitize$(SET)
CFLAGS += -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
LDFLAGS += -fsanitize=address,undefined
endif
ifeq ($(WERROR),1)
CFLAGS += -Werror
endif
ifeq ($(ONEDNN),1)
CPPFLAGS += -DHAVE_ONEDNN
LDLIBS += -ldnnl
else
MODE := $(MODE)-plain
$(info oneDNN not found or left out: building with the plain C convolutions, which are many times slower; scripts/setup installs it)
endif
ifeq ($(JPEG),1)
CPPFLAGS += -DHAVE_JPEG
LDLIBS += -ljpeg
else
MODE := $(MODE)-stb
$(info libjpeg not found or left out: training reads JPEGs with the portable decoder, at a third of the speed; scripts/setup installs it)
endif
ifeq ($(EXPAT),1)
CPPFLAGS += -DHAVE_EXPAT
LDLIBS += -lexpat
else
MODE := $(MODE)-noxml
$(info libexpat not found or left out: building without the import of Pascal VOC; scripts/setup installs it)
endif
ifneq ($(OPENMP_FLAG),-fopenmp)
$(info OpenMP not found: building for one processor core)
endif
ifeq ($(GPU),1)
include scripts/gpu.mk
endif
ifeq ($(OPENCV),1)
OPENCV_FLAGS := $(shell pkg-config --cflags opencv4 2>/dev/null || echo -I/usr/include/opencv4)
OPENCV_LIBS := -lopencv_highgui -lopencv_videoio -lopencv_imgproc -lopencv_core -lstdc++
ifneq ($(shell printf '\043include <opencv2/highgui.hpp>\n\043include <opencv2/videoio.hpp>\nint main() { return cv::VideoCapture().isOpened(); }\n' | $(CXX) $(OPENCV_FLAGS) -x c++ - $(LDFLAGS) $(OPENCV_LIBS) -o /dev/null 2>/dev/null && echo yes),yes)
$(error OPENCV=1: OpenCV 4 not found; Debian and Ubuntu: apt-get install libopencv-videoio-dev libopencv-highgui-dev)
endif
OPENCV_INSTEAD := src/vision/video_none.c
OPENCV_SRC := src/vision/opencv/video.cpp
LDLIBS += $(OPENCV_LIBS)
MODE := $(MODE)-opencv
endif
MODE := $(MODE)-$(notdir $(firstword $(CC)))
OUT := build/$(MODE)

# One source, compiled once per instruction set; the fastest one that the machine has is chosen at start.
Q := $(if $(V),,@)
say = $(if $(V),,@echo '$(1)')

KERNELS := $(wildcard src/backend/cpu/kernels*.c)
ISAS := base
ifneq ($(filter x86_64-% amd64-%,$(MACHINE)),)
ISAS += avx2 avx512
endif
ISA_base :=
ISA_avx2 := -mavx2 -mfma
ISA_avx512 := -mavx512f -mavx512vl -mavx512bw -mavx512dq -mavx2 -mfma -mprefer-vector-width=512

SRC := $(filter-out $(KERNELS) $(GPU_INSTEAD) $(OPENCV_INSTEAD),$(wildcard src/*/*.c src/*/*/*.c) $(GPU_SRC))
CLI := $(filter src/cli/%,$(SRC))
LIB := $(filter-out $(CLI),$(SRC))
LIB_OBJ := $(LIB:%.c=$(OUT)/%.o) $(foreach i,$(ISAS),$(KERNELS:%.c=$(OUT)/%_$(i).o)) $(GPU_KERNELS:%.cu=$(OUT)/%.o) $(OPENCV_SRC:%.cpp=$(OUT)/%.o)
CLI_OBJ := $(CLI:%.c=$(OUT)/%.o)
TESTS := $(patsubst tests/%.c,%,$(wildcard tests/test_*.c))

.PHONY: all test demo bench clean install-deps lib where
all: darknet libdarknet.so

# Exchanged, not overwritten: a training that runs from the old file goes on.  Compared, as builds of several kinds end here.
darknet libdarknet.so: %: $(OUT)/% FORCE
	@cmp -s $< $@ || { cp $< $@.new && mv -f $@.new $@; }
FORCE:

$(OUT)/darknet: $(CLI_OBJ) $(OUT)/libdarknet.a
	$(call say,  LD $@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)
$(OUT)/libdarknet.a: $(LIB_OBJ)
	$(call say,  AR $@)
	$(Q)rm -f $@ && ar rcs $@ $^
$(OUT)/libdarknet.so: $(LIB_OBJ)
	$(call say,  LD $@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -shared -o $@ $^ $(LDLIBS)
lib: $(OUT)/libdarknet.a

define isa_rule
$(OUT)/%_$(1).o: %.c
	@mkdir -p $$(@D)
	$(call say,  CC $$@)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(ISA_$(1)) -DCPU_ISA=$(1) -c -o $$@ $$<
endef
$(foreach i,$(ISAS),$(eval $(call isa_rule,$(i))))
# Products of narrow operands, for CPUs that have them.
ifneq ($(filter avx512,$(ISAS)),)
$(OUT)/src/backend/cpu/narrow_bf16.o: CFLAGS += $(ISA_avx512) -mavx512bf16
$(OUT)/src/backend/cpu/narrow_int8.o: CFLAGS += $(ISA_avx512) -mavx512vnni
endif

$(OUT)/src/backend/cuda/gpu/%.o: src/backend/cuda/gpu/%.cu
	@mkdir -p $(@D)
	$(call say,  NVCC $<)
	$(Q)$(NVCC) $(NVCC_FLAGS) -MMD -MP -MF $(@:.o=.d) -c -o $@ $<
$(OUT)/src/vision/opencv/%.o: src/vision/opencv/%.cpp
	@mkdir -p $(@D)
	$(call say,  CXX $<)
	$(Q)$(CXX) $(CPPFLAGS) $(OPENCV_FLAGS) -std=c++17 -O2 -Wall -Wextra -fPIC $(if $(WERROR),-Werror) -c -o $@ $<
$(OUT)/src/%.o: src/%.c
	@mkdir -p $(@D)
	$(call say,  CC $<)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<

$(OUT)/tests/%: tests/%.c tests/test.h tests/cli_rig.h $(OUT)/libdarknet.a
	@mkdir -p $(@D)
	$(call say,  LD $@)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -Itests $(LDFLAGS) -o $@ $< $(OUT)/libdarknet.a $(LDLIBS)

test: $(TESTS:%=$(OUT)/tests/%) $(OUT)/darknet
	@scripts/check_floors
	@DARKNET=$(abspath $(OUT))/darknet SANITIZE=$(SANITIZE) EMULATOR="$(EMULATOR)" scripts/run_tests $(TESTS:%=$(OUT)/tests/%)

demo:
	scripts/demo

bench: darknet
	scripts/bench

install-deps:
	scripts/setup

# Where this combination of switches is built, for scripts.
where:
	@echo $(OUT)

clean:
	rm -rf build darknet libdarknet.so

-include $(shell find $(OUT) -name '*.d' 2>/dev/null)
