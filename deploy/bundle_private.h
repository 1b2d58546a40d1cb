/* What a bundle is inside deploy/: bundle.c opens and closes it, bundle_rewrite.c reads it. */
#ifndef GS_DEPLOY_BUNDLE_PRIVATE_H
#define GS_DEPLOY_BUNDLE_PRIVATE_H

#include <deploy/bundle_reader.h>

struct gs_bundle {
    const gs_bundle_reader *reader;
    gs_bundle_content content;
    const gs_checkpoint *stored;    /* the caller's by now */
    gs_bundle_open_options options; /* config is NULL */
};

#endif
