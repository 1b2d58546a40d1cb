#include <deploy/container.h>

#include <base/file.h>
#include <base/mem.h>
#include <base/strbuf.h>

#include <string.h>

char *gs_container_path(const char *dir, const gs_container_naming *naming, gs_error *err) {
    gs_strbuf name = {0};
    gs_strbuf_printf(&name, "%s%s", naming->stem, naming->extension);
    char *path = name.failed ? NULL : gs_path_join(dir, gs_strbuf_text(&name));
    gs_strbuf_clear(&name);
    if (!path) gs_error_nomem(err, strlen(dir));
    return path;
}
