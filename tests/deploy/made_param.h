/* A param of a node, filled by hand. */
#ifndef GS_TESTS_DEPLOY_MADE_PARAM_H
#define GS_TESTS_DEPLOY_MADE_PARAM_H

#include <network/net.h>
#include <tests/support.h>

/* The bytes of an owned param of that role and type; they belong to the param. */
static inline void *made_param(gs_net *net, gs_node *node, gs_role role, gs_dtype dtype, int ndim, int64_t a, int64_t b) {
    gs_error err = {0};
    char name[256];
    const int64_t shape[2] = {a, b};
    snprintf(name, sizeof name, "%s.%s", node->name, gs_role_name(role));
    assert_ok(gs_net_param_new(net, node, role, name, dtype, ndim, shape, NULL, &err), &err);
    assert_ok(gs_param_allocate(node->param[role], &err), &err);
    return node->param[role]->data;
}

#endif
