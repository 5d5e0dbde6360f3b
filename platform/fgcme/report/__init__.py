"""What people read of a result: pictures and written-out predictions."""
