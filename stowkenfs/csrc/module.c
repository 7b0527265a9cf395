/*
 * Inner loops of reading and storing, compiled: what numpy cannot do in one pass.
 *
 * Each function does what Python code beside its caller also does, and the tests compare them
 * (tests/test_kernels.py). None of them raises for damaged content: where bytes are not as
 * they were written, the answer for them is None (or a flag), and the caller's Python code
 * finds out what is wrong and says so. ValueError and TypeError are for callers' mistakes.
 *
 * Arrays are C-contiguous buffers of the item size that is named, in the machine's order.
 * Positions that come from a caller, numbers from content, and places in tables are checked
 * before they are used. Long loops run without the interpreter's lock, on memory that the call
 * keeps alive: buffers it has locked, tuples it owns. Callers do not change them meanwhile.
 */

#include "kernels.h"

#define FAST(name) {#name, (PyCFunction)(void (*)(void))name, METH_FASTCALL, name##_doc}

static PyMethodDef functions[] = {
    FAST(spell_ranked),
    FAST(spell_varints),
    FAST(scan_bodies),
    FAST(fill),
    FAST(varints32),
    FAST(varints56),
    FAST(places_of),
    FAST(identifiers),
    FAST(spell_texts),
    FAST(pack_varints),
    FAST(names_in_bodies),
    FAST(rename_bodies),
    FAST(lex),
    FAST(unescape),
    FAST(escape),
    FAST(occurring),
    FAST(is_filled),
    FAST(encode_body),
    FAST(trie_index),
    FAST(trie_observe),
    FAST(model_encode),
    FAST(model_decode),
    {NULL, NULL, 0, NULL},
};

/* Raised with each change of what a function takes or gives; kernels.py has the same. */
#define VERSION 4

static int tell_version(PyObject *module)
{
    return PyModule_AddIntConstant(module, "VERSION", VERSION);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)tell_version},
    {0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "stowkenfs._kernels",
    .m_doc = "Inner loops; stowkenfs.kernels says whether they are there.",
    .m_size = 0,
    .m_methods = functions,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__kernels(void)
{
    return PyModuleDef_Init(&module);
}
