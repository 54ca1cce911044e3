"""The same work in other libraries; each file imports its library on use."""
