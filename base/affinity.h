// Which processors a thread runs on. A thread starts with what its creator has.
#pragma once

namespace strata {

// Keeps the calling thread on one processor, unless that is offline or not allowed to this process.
void PinThread(unsigned cpu);
// Lets the calling thread run wherever the process's main thread may. For a thread that lives
// longer than the call it was started in, whose thread may have been pinned.
void UnpinThread();

}  // namespace strata
