"""The machines: Ray, its capacity, the shared folder, progress shown in a terminal."""
