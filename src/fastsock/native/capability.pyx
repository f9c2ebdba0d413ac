# SPDX-License-Identifier: MIT
"""What libfastsock finds out about itself and the kernel."""
from fastsock.libfastsock cimport (
    FSK_CAPABILITY_COUNT, fsk_capability, fsk_capability_name, fsk_capability_probe,
    fsk_capability_report,
)


def probe_all():
    """Ask the kernel; a list of (name, built, probed, working, errno, reason or None)."""
    cdef fsk_capability_report report
    cdef int number
    found = []
    for number in range(<int>FSK_CAPABILITY_COUNT):
        fsk_capability_probe(<fsk_capability>number, &report)
        found.append((
            fsk_capability_name(<fsk_capability>number).decode("ascii"),
            report.is_built, report.is_probed, report.works, -report.error,
            None if report.reason == NULL else report.reason.decode("ascii")))
    return found
