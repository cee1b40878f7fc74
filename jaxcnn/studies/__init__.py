"""Many runs or steps with one purpose."""
