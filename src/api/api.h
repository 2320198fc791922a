/* Shared by the files of api/ only. */
#ifndef API_API_H
#define API_API_H

#include "base/ctx.h"

void api_complain(struct ctx *); /* prints the error, if there is one, on stderr and clears it */

#endif
