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

/* Not state but constants found late: every thread that races here stores the same values. */
static _Atomic(const struct fski_engine *) chosen;
static atomic_bool is_misnamed;

const struct fski_engine *fski_engine(void) {
    const struct fski_engine *engine = atomic_load_explicit(&chosen, memory_order_acquire);
    if (engine == NULL) {
        engine = named_engine();
        atomic_store_explicit(&is_misnamed, engine == NULL, memory_order_relaxed);
        if (engine == NULL)
            engine = engines[0];
        atomic_store_explicit(&chosen, engine, memory_order_release);
    }
    return engine;
}

const char *fsk_engine_name(void) {
    const char *name = fski_engine()->name;
    return atomic_load_explicit(&is_misnamed, memory_order_relaxed) ? NULL : name;
}
