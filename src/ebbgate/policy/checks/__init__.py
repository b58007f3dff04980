"""What is legal in a policy and still worth a look: one function a rule, one line each in ``registry``."""
