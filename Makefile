# make                 build ./darknet and libdarknet.so for this machine's CPU
# make test            all tests (SANITIZE=1: under ASan and UBSan)
# make demo            the whole job on data it makes itself: train, score, prune, fine-tune, report
# make bench           timings; PEER=/path/to/darknet times another binary beside this one
# make install-deps    scripts/setup: the Debian/Ubuntu packages this needs
# Switches: V=1 shows the commands, ONEDNN=0 leaves oneDNN out, JPEG=0 libjpeg, EXPAT=0 libexpat, WERROR=1, DEBUG=1, CC=clang. AVX and OPENMP, known from Darknet, are always on.

CC ?= cc
EXPAT ?= $(shell echo 'int main(void) { return XML_ExpatVersion() == NULL; }' | $(CC) -include expat.h -x c - -lexpat -o /dev/null 2>/dev/null && echo 1 || echo 0)
ONEDNN ?= $(shell echo 'int main(void) { return dnnl_version() == NULL; }' | $(CC) -include oneapi/dnnl/dnnl.h -x c - -ldnnl -o /dev/null 2>/dev/null && echo 1 || echo 0)
JPEG ?= $(shell printf '\043include <stdio.h>\n\043include <jpeglib.h>\nint main(void) { return jpeg_std_error(NULL) == NULL; }\n' | $(CC) -x c - -ljpeg -o /dev/null 2>/dev/null && echo 1 || echo 0)

ifeq ($(GPU),1)
$(error GPU=1: the CUDA backend is not part of this version; build without it)
endif
ifeq ($(OPENCV),1)
$(error OPENCV=1: windows and video are not part of this version; build without it)
endif

MODE := release
CFLAGS ?= -O3
CFLAGS += -std=gnu11 -Wall -Wextra -Wshadow -Wconversion -Wmissing-prototypes -fPIC -fopenmp -ffp-contract=fast -fno-math-errno -fno-trapping-math
CPPFLAGS += -D_GNU_SOURCE -Isrc -Iinclude -MMD -MP
LDLIBS += -lcjson -lnettle -lm -pthread
ifeq ($(DEBUG),1)
MODE := debug
CFLAGS += -O0 -g
endif
ifeq ($(SANITIZE),1)
MODE := sanitize
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
MODE := $(MODE)-$(notdir $(firstword $(CC)))
OUT := build/$(MODE)

# One source, compiled once per instruction set; the fastest one that the machine has is chosen at start.
Q := $(if $(V),,@)
say = $(if $(V),,@echo '$(1)')

KERNELS := $(wildcard src/backend/cpu/kernels*.c)
ISAS := base
ifneq ($(filter x86_64 amd64,$(shell uname -m)),)
ISAS += avx2 avx512
endif
ISA_base :=
ISA_avx2 := -mavx2 -mfma
ISA_avx512 := -mavx512f -mavx512vl -mavx512bw -mavx512dq -mavx2 -mfma -mprefer-vector-width=512

SRC := $(filter-out $(KERNELS),$(wildcard src/*/*.c src/*/*/*.c))
CLI := $(filter src/cli/%,$(SRC))
LIB := $(filter-out $(CLI),$(SRC))
LIB_OBJ := $(LIB:%.c=$(OUT)/%.o) $(foreach i,$(ISAS),$(KERNELS:%.c=$(OUT)/%_$(i).o))
CLI_OBJ := $(CLI:%.c=$(OUT)/%.o)
TESTS := $(patsubst tests/%.c,%,$(wildcard tests/test_*.c))

.PHONY: all test demo bench clean install-deps lib
all: darknet libdarknet.so

# Exchanged, not overwritten: a training that runs from the old file goes on.
darknet libdarknet.so: %: $(OUT)/%
	cp $< $@.new && mv -f $@.new $@

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
	@DARKNET=$(abspath $(OUT))/darknet SANITIZE=$(SANITIZE) scripts/run_tests $(TESTS:%=$(OUT)/tests/%)

demo:
	scripts/demo

bench: darknet
	scripts/bench

install-deps:
	scripts/setup

clean:
	rm -rf build darknet libdarknet.so

-include $(shell find $(OUT) -name '*.d' 2>/dev/null)
