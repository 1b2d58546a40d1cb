/* What MindFormers calls the modules that Hugging Face's names tell (AB 6.2), and back (internal to verify/). */
#ifndef GS_VERIFY_MINDFORMERS_H
#define GS_VERIFY_MINDFORMERS_H

enum { GS_MINDFORMERS_NAME = 300 };

/* "model.layers.0.attention.wq" of "model.layers.0.self_attn.q_proj"; what has no other name keeps its own. Cut where it is longer
 * than any module's. */
void gs_mindformers_name(const char *module, char out[GS_MINDFORMERS_NAME]);
/* Hugging Face's name of a tensor: the module's, and "weight" for the embedding's "embedding_weight". */
void gs_mindformers_back(const char *tensor, char out[GS_MINDFORMERS_NAME]);

#endif
