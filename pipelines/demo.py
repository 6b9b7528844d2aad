"""`make demo`: skeletons out of a real video, with pictures to look at."""
