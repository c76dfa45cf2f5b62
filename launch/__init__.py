"""What starts headstart: accelerate's files, the scripts behind make's verbs. Holds no hyper-parameters."""
