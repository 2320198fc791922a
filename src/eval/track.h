/* Objects followed over the frames of a video by their embeddings and places (darknet-compat 6.9: a [yolo] head with
 * embedding_layer and its track keys). */
#ifndef EVAL_TRACK_H
#define EVAL_TRACK_H

#include "net/net.h"

struct tracker;
/* *out is NULL where no head of the network has embeddings. */
enum status tracker_open(struct ctx *, const struct net *, struct tracker **out);
/* After the detections of a frame were collected from image 0 of the batch: id[i] of each of the list, which a box keeps from
 * frame to frame; 0 below the threshold, and while an object has been seen in fewer than dets_for_show frames.
 * Pairs of a box and one of the last track_history_size frames join in falling order of
 * cosine * (1 - track_ciou_norm) + IoU * track_ciou_norm, above sim_thresh, each object and each box once. */
enum status tracker_follow(struct ctx *, struct tracker *, const struct net *, const struct detection_list *, float thresh, int *id);
void tracker_close(struct tracker *);

#endif
