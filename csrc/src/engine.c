/* SPDX-License-Identifier: MIT */
#include "engine.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <fastsock/version.h>

#include "config.h"

/* The first is the default. */
static const struct fski_engine *const engines[] = {
#if FSK_HAVE_ENGINE_LINUX
    &fski_engine_linux,
#endif
    &fski_engine_portable,
};

/* Of a set-uid program the caller's environment must not choose the code. */
static const char *environment(const char *name) {
#if FSK_HAVE_SECURE_GETENV
    return secure_getenv(name);
#elif FSK_HAVE_ISSETUGID
    return issetugid() ? NULL : getenv(name);
#else
    return getuid() == geteuid() && getgid() == getegid() ? getenv(name) : NULL;
#endif
}

/* NULL when FASTSOCK_ENGINE is set to something that is no engine's name. */
static const struct fski_engine *named_engine(void) {
    const char *name = environment("FASTSOCK_ENGINE");
    if (name == NULL || *name == '\0')
        return engines[0];
    for (size_t i = 0; i < sizeof engines / sizeof *engines; i++)
        if (strcmp(engines[i]->name, name) == 0)
            return engines[i];
    return NULL;
}

const struct fski_engine *fski_engine(void) {
    /* Not state but a constant found late: every thread that races here stores the same value. */
    static _Atomic(const struct fski_engine *) chosen;
    const struct fski_engine *engine = atomic_load_explicit(&chosen, memory_order_relaxed);
    if (engine == NULL) {
        engine = named_engine();
        if (engine == NULL)
            engine = engines[0];
        atomic_store_explicit(&chosen, engine, memory_order_relaxed);
    }
    return engine;
}

const char *fsk_engine_name(void) {
    return named_engine() == NULL ? NULL : fski_engine()->name;
}
