# SPDX-License-Identifier: MIT
# CPython's C API where Cython's own declarations stop, and the C of interpreter.h.
from cpython.object cimport PyObject, PyTypeObject
from libc.stdint cimport int64_t


cdef extern from "interpreter.h":
    ctypedef object (*PyCFunction)(object instance, PyObject *arguments)

    ctypedef struct PyMethodDef:
        PyCFunction ml_meth
        int ml_flags

    ctypedef struct PyMethodDescrObject:
        PyMethodDef *d_method

    ctypedef struct PyMemberDef:
        int type
        Py_ssize_t offset

    ctypedef struct PyMemberDescrObject:
        PyMemberDef *d_member

    # The borrowed-pointer forms, for a result that is resized before it becomes an object.
    PyObject *new_bytes "PyBytes_FromStringAndSize"(const char *data, Py_ssize_t length) except NULL
    int resize_bytes "_PyBytes_Resize"(PyObject **data, Py_ssize_t length) except -1

    # Two slots of a type, with the errors and arguments they really have.
    ctypedef struct TypeSlots "PyTypeObject":
        object (*tp_new)(TypeSlots *cls, object arguments, PyObject *keywords)
        int (*tp_init)(object instance, object arguments, PyObject *keywords) except -1

    object PyDescr_NewMethod(PyTypeObject *cls, PyMethodDef *method)
    int METH_NOARGS
    int T_INT
    int PyMember_SetOne(char *instance, PyMemberDef *member, object value) except -1
    int PySys_Audit(const char *event, const char *format, ...) except -1
    bint PyType_IsSubtype(PyTypeObject *one, PyTypeObject *other) noexcept
    object PyUnicode_DecodeLocale(const char *text, const char *errors)
    object PyUnicode_DecodeFSDefaultAndSize(const char *text, Py_ssize_t length)

    int FASTSOCK_CMSG_CLOEXEC
    int FASTSOCK_ERRQUEUE
    int FASTSOCK_FASTOPEN
    enum:
        FASTSOCK_HAS_GIL
        FASTSOCK_SCRATCH_SIZE
    struct fastsock_streak_state "fastsock_streak":
        unsigned calls
        int64_t since_ns
    fastsock_streak_state *fastsock_streak() noexcept nogil
    struct fastsock_scratch_memory "fastsock_scratch":
        size_t last_size
        char *bytes
    fastsock_scratch_memory *fastsock_scratch() noexcept nogil
    unsigned fastsock_load(const unsigned char *count) noexcept nogil
    void fastsock_store(unsigned char *count, unsigned value) noexcept nogil
    void fastsock_add(Py_ssize_t *count, Py_ssize_t value) noexcept nogil
    Py_ssize_t fastsock_count(const Py_ssize_t *count) noexcept nogil
