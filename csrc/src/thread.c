/* SPDX-License-Identifier: MIT */
#include "thread.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>

#include "config.h"

/* A receive keeps about 60 KiB on the stack. The default of some C libraries is little more, that of
 * others is 8 MiB. */
enum { STACK_SIZE = 512 * 1024 };

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

#if FSK_HAVE_SETAFFINITY

static int only(int cpu, cpu_set_t *cpus) {
    if (cpu >= CPU_SETSIZE)
        return EINVAL;
    CPU_ZERO(cpus);
    CPU_SET((size_t)cpu, cpus);
    return 0;
}

#endif

#if FSK_HAVE_ATTR_SETAFFINITY

static int create_on(pthread_t *thread, pthread_attr_t *attributes, int cpu, void *(*run)(void *),
                     void *argument) {
    cpu_set_t cpus;
    int result = only(cpu, &cpus);
    if (result == 0)
        result = pthread_attr_setaffinity_np(attributes, sizeof cpus, &cpus);
    return result == 0 ? create(thread, attributes, run, argument) : result;
}

#elif FSK_HAVE_SETAFFINITY

/* musl has no attribute for it. A thread inherits the CPUs of the one that starts it, which gets its
 * own back; one that bound itself could not tell that there is no such CPU before it runs. */
static int create_on(pthread_t *thread, pthread_attr_t *attributes, int cpu, void *(*run)(void *),
                     void *argument) {
    cpu_set_t before, cpus;
    int result = only(cpu, &cpus);
    if (result == 0)
        result = pthread_getaffinity_np(pthread_self(), sizeof before, &before);
    if (result == 0)
        result = pthread_setaffinity_np(pthread_self(), sizeof cpus, &cpus);
    if (result != 0)
        return result;
    result = create(thread, attributes, run, argument);
    pthread_setaffinity_np(pthread_self(), sizeof before, &before);
    return result;
}

#else

static int create_on(pthread_t *thread, pthread_attr_t *attributes, int cpu, void *(*run)(void *),
                     void *argument) {
    (void)thread, (void)attributes, (void)cpu, (void)run, (void)argument;
    return EOPNOTSUPP;
}

#endif

int fski_thread_start(pthread_t *thread, const struct fski_schedule *schedule, void *(*run)(void *),
                      void *argument) {
    pthread_attr_t attributes;
    int result = pthread_attr_init(&attributes);
    if (result != 0)
        return -result;
    result = pthread_attr_setstacksize(&attributes, STACK_SIZE);
    if (result == 0)
        result = set_priority(&attributes, schedule->priority);
    if (result == 0 && schedule->cpu < 0)
        result = create(thread, &attributes, run, argument);
    else if (result == 0)
        result = create_on(thread, &attributes, schedule->cpu, run, argument);
    pthread_attr_destroy(&attributes);
    return -result;
}

void fski_thread_join(pthread_t thread) {
    pthread_join(thread, NULL);
}
