// Clang's thread-safety analysis attributes
// (https://clang.llvm.org/docs/ThreadSafetyAnalysis.html). They expand to nothing under other
// compilers; the clang-tidy preset turns violations into errors.
#pragma once

#if defined(__clang__)
#define STRATA_THREAD_ATTR(x) __attribute__((x))
#else
#define STRATA_THREAD_ATTR(x)
#endif

#define STRATA_CAPABILITY(x) STRATA_THREAD_ATTR(capability(x))
#define STRATA_SCOPED_CAPABILITY STRATA_THREAD_ATTR(scoped_lockable)
#define STRATA_GUARDED_BY(x) STRATA_THREAD_ATTR(guarded_by(x))
#define STRATA_PT_GUARDED_BY(x) STRATA_THREAD_ATTR(pt_guarded_by(x))
#define STRATA_REQUIRES(...) STRATA_THREAD_ATTR(requires_capability(__VA_ARGS__))
#define STRATA_REQUIRES_SHARED(...) STRATA_THREAD_ATTR(requires_shared_capability(__VA_ARGS__))
#define STRATA_ACQUIRE(...) STRATA_THREAD_ATTR(acquire_capability(__VA_ARGS__))
#define STRATA_ACQUIRE_SHARED(...) STRATA_THREAD_ATTR(acquire_shared_capability(__VA_ARGS__))
#define STRATA_RELEASE(...) STRATA_THREAD_ATTR(release_capability(__VA_ARGS__))
#define STRATA_RELEASE_GENERIC(...) STRATA_THREAD_ATTR(release_generic_capability(__VA_ARGS__))
#define STRATA_TRY_ACQUIRE(...) STRATA_THREAD_ATTR(try_acquire_capability(__VA_ARGS__))
#define STRATA_EXCLUDES(...) STRATA_THREAD_ATTR(locks_excluded(__VA_ARGS__))
#define STRATA_NO_THREAD_SAFETY_ANALYSIS STRATA_THREAD_ATTR(no_thread_safety_analysis)
