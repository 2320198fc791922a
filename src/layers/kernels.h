/* Kernels tied by a deformation (sway, rotate, stretch, stretch_sway; darknet-compat 2.1): the filters form equal blocks, and
 * those of every block are the first block's, turned, scaled or mirrored.  A file holds them all; training keeps the ties. */
#ifndef LAYERS_KERNELS_H
#define LAYERS_KERNELS_H

enum deformation { DEFORM_NONE, DEFORM_SWAY, DEFORM_ROTATE, DEFORM_STRETCH, DEFORM_STRETCH_SWAY };

int deformation_stages(enum deformation);
/* maps: stages matrices of size^4 numbers: kernel of block s = maps[s] * kernel of block 0. */
void deformation_maps(enum deformation, int size, double degrees, double *maps);

#endif
