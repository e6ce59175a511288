// Work that is shared by threads: those of the OpenMP runtime that torch has loaded.
//
// `GOMP_parallel` is what GCC compiles `#pragma omp parallel` to, and LLVM's and Intel's runtimes
// have it, too. Called by name, it needs no OpenMP of the compiler, whose runtime may be another.
#pragma once
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lanes.h"

extern "C" void GOMP_parallel(void (*work)(void *), void *data, unsigned threads, unsigned flags);
extern "C" int omp_get_thread_num(void);
extern "C" int omp_get_num_threads(void);

// The most threads that a team has: as many as there are parts to share.
INLINE int team_of(int threads) { return threads < PARTS ? threads : PARTS; }

// Call `work(thread, threads)` in every thread of a team. It may have fewer than `team_of` says.
//
// A team of one is called as it is: a piece of work of a larger team may be written for a team, too.
template <typename Work> void in_team(int threads, Work work) {
    if (team_of(threads) == 1) return work(0, 1);
    auto start = [](void *data) {
        (*(Work *)data)(omp_get_thread_num(), omp_get_num_threads());
    };
    GOMP_parallel(start, &work, team_of(threads), 0);
}

// Call `body(j)` for j from 0 up to `count`; each thread has as many as another.
template <typename Body> void in_parallel(long count, int threads, Body body) {
    in_team(threads, [=](int thread, int team) {
        for (long j = count * thread / team; j < count * (thread + 1) / team; j++) body(j);
    });
}

// Call `body(part)` for the parts of one thread.
template <typename Body> INLINE void for_parts(int thread, int team, Body body) {
    for (int part = PARTS * thread / team; part < PARTS * (thread + 1) / team; part++) body(part);
}

// Where the threads of a team wait for one another, within one call of a kernel.
//
// A thread that waits spins for some 20 microseconds, since the others are at the same work and
// hardly behind, and then sleeps, since they may be waiting for a processor. OpenMP's own barrier
// sleeps at once, or spins for milliseconds, as OMP_WAIT_POLICY says for all of a program.
class Barrier {
    static constexpr int SPINS = 1000;
    int arrived = 0, sleeping = 0, round = 0;

  public:
    // The last thread to arrive calls `last` before all go on.
    template <typename Last> void wait(int threads, Last last) {
        int before = __atomic_load_n(&round, __ATOMIC_ACQUIRE);
        if (__atomic_add_fetch(&arrived, 1, __ATOMIC_ACQ_REL) == threads) {
            last();
            __atomic_store_n(&arrived, 0, __ATOMIC_RELAXED);
            __atomic_store_n(&round, before + 1, __ATOMIC_SEQ_CST);
            if (__atomic_load_n(&sleeping, __ATOMIC_SEQ_CST))
                syscall(SYS_futex, &round, FUTEX_WAKE_PRIVATE, threads, 0, 0, 0);
            return;
        }
        for (int spin = 0; spin < SPINS; spin++) {
            if (__atomic_load_n(&round, __ATOMIC_ACQUIRE) != before) return;
#ifdef __x86_64__
            __builtin_ia32_pause();
#endif
        }
        __atomic_add_fetch(&sleeping, 1, __ATOMIC_SEQ_CST);
        while (__atomic_load_n(&round, __ATOMIC_SEQ_CST) == before)
            syscall(SYS_futex, &round, FUTEX_WAIT_PRIVATE, before, 0, 0, 0);
        __atomic_sub_fetch(&sleeping, 1, __ATOMIC_SEQ_CST);
    }
};
