/* Text as training data: a sample is one symbol, one-hot, and its truth the symbol that follows, as Darknet's rnn command has it. */
#ifndef DATA_TEXT_SOURCE_H
#define DATA_TEXT_SOURCE_H

#include "data/loader.h"

/* A text as numbers 0 .. kinds-1: its bytes, or with `tokens` the decimal numbers that the file holds, blanks between them. */
struct symbols { int n, kinds, *v; };
/* At least two symbols, each of them one of `kinds`; else an error naming the file and the place. */
enum status symbols_read(struct ctx *, const char *path, int kinds, bool tokens, struct symbols *);
void symbols_free(struct symbols *);

/* Every sequence starts at a random place and reads on, also into the next batch while request.sequence says that the sequences
 * go on; behind the text's end comes its beginning.  A batch depends on (seed, number) alone.  Needs the text until closed. */
enum status text_source_open(struct ctx *, const struct symbols *, const struct batch_request *, struct batch_source *);

#endif
