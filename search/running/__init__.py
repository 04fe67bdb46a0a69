"""Trials on machines: Ray, the desk that hands them out, the processes that take them, and what is seen meanwhile."""
