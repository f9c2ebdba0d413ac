/* SPDX-License-Identifier: MIT */
#include "thread.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>

#include "config.h"

/* A receive keeps about 60 KiB on the stack. The default of some C libraries is little more, that of
 * others is 8 MiB. */
enum { STACK_SIZE = 512 * 1024 };

#if FSK_HAVE_ATTR_SETAFFINITY

static int bind_to(pthread_attr_t *attributes, int cpu) {
    cpu_set_t only;
    if (cpu < 0)
        return 0;
    if (cpu >= CPU_SETSIZE)
        return EINVAL;
    CPU_ZERO(&only);
    CPU_SET(cpu, &only);
    return pthread_attr_setaffinity_np(attributes, sizeof only, &only);
}

#else

static int bind_to(pthread_attr_t *attributes, int cpu) {
    (void)attributes;
    return cpu < 0 ? 0 : EOPNOTSUPP;
}

#endif

static int set_priority(pthread_attr_t *attributes, int priority) {
    struct sched_param parameters = {.sched_priority = priority};
    if (priority == 0)
        return 0;
    int result = pthread_attr_setinheritsched(attributes, PTHREAD_EXPLICIT_SCHED);
    if (result == 0)
        result = pthread_attr_setschedpolicy(attributes, SCHED_FIFO);
    if (result == 0)
        result = pthread_attr_setschedparam(attributes, &parameters);
    return result;
}

/* The mask is inherited, so no signal can come before the thread has set its own. */
static int create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                  void *argument) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int result = pthread_create(thread, attributes, run, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return result;
}

int fski_thread_start(pthread_t *thread, const struct fski_schedule *schedule, void *(*run)(void *),
                      void *argument) {
    pthread_attr_t attributes;
    int result = pthread_attr_init(&attributes);
    if (result != 0)
        return -result;
    result = pthread_attr_setstacksize(&attributes, STACK_SIZE);
    if (result == 0)
        result = bind_to(&attributes, schedule->cpu);
    if (result == 0)
        result = set_priority(&attributes, schedule->priority);
    if (result == 0)
        result = create(thread, &attributes, run, argument);
    pthread_attr_destroy(&attributes);
    return -result;
}

void fski_thread_join(pthread_t thread) {
    pthread_join(thread, NULL);
}
