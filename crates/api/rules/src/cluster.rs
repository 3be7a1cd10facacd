//! Small kinds of several groups: PriorityClass, RuntimeClass, Lease, CertificateSigningRequest, APIService.

mod apiservice;
mod certificate;
mod coordination;
mod runtime_class;
mod scheduling;
