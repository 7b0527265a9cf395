/* What libfuse and the kernel agree on when a filesystem is mounted (FUSE_INIT).
 *
 * pyfuse3 takes libfuse's defaults and has no way to ask for others. This module is loaded with
 * RTLD_GLOBAL, so that the fuse_session_new of libfuse is found here first; it passes everything
 * on, and has the last word in the callback that libfuse makes for what is wanted.
 */

#define _GNU_SOURCE 1 /* RTLD_NEXT */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

/* The beginning of struct fuse_conn_info, the same in all releases of libfuse 3. */
struct conn_info {
    unsigned proto_major, proto_minor, max_write, max_read, max_readahead, capable, want;
};

typedef void init_function(void *, struct conn_info *);
typedef void *new_function(void *, const void *, size_t, void *);

static const char *const LIBRARIES[] = {"libfuse3.so.3", "libfuse3.so.4"};
static const int VERSION_MIN = 311, VERSION_MAX = 316; /* later ones have wants elsewhere, too */

static unsigned asked, refused; /* flags, FUSE_CAP_... of libfuse's fuse_common.h */
static init_function *inner_init;

static void *
libfuse(void)
{
    for (size_t i = 0; i < sizeof LIBRARIES / sizeof *LIBRARIES; i++) {
        void *library = dlopen(LIBRARIES[i], RTLD_LAZY | RTLD_NOLOAD);
        if (library != NULL)
            return library;
    }
    return NULL;
}

static int
is_known(void)
{
    void *library = libfuse();
    int (*version)(void) = library != NULL ? (int (*)(void))dlsym(library, "fuse_version") : NULL;
    if (version == NULL)
        return 0;
    int number = version();
    return number >= VERSION_MIN && number <= VERSION_MAX;
}

static void
on_init(void *userdata, struct conn_info *conn)
{
    if (inner_init != NULL)
        inner_init(userdata, conn);
    /* What takes the place of something refused has to be there. */
    if ((conn->capable & asked) == asked)
        conn->want = (conn->want & ~refused) | asked;
}

/* In place of libfuse's. ``operations`` begins with the callback. */
__attribute__((visibility("default"))) void *
fuse_session_new(void *args, const void *operations, size_t size, void *userdata)
{
    void *library = libfuse();
    new_function *original =
        (new_function *)dlsym(library != NULL ? library : RTLD_NEXT, "fuse_session_new");
    if (original == NULL || original == fuse_session_new)
        return NULL;
    if (!asked || size < sizeof(init_function *) || !is_known())
        return original(args, operations, size, userdata);
    char *changed = malloc(size);
    if (changed == NULL)
        return NULL;
    memcpy(changed, operations, size);
    memcpy(&inner_init, changed, sizeof inner_init);
    init_function *outer = on_init;
    memcpy(changed, &outer, sizeof outer);
    void *session = original(args, changed, size, userdata); /* which copies it */
    free(changed);
    return session;
}

static PyObject *
ask(PyObject *module, PyObject *args)
{
    unsigned wanted, unwanted;
    if (!PyArg_ParseTuple(args, "II", &wanted, &unwanted))
        return NULL;
    asked = wanted;
    refused = unwanted;
    Py_RETURN_NONE;
}

static PyMethodDef METHODS[] = {
    {"ask", ask, METH_VARARGS,
     "ask(wanted, unwanted): flags for the next mount, of which the second are only left out if "
     "the kernel has all of the first."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT, "_session", "What is agreed on with the kernel.", -1, METHODS,
    NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC
PyInit__session(void)
{
    return PyModule_Create(&MODULE);
}
