// The part of onnxruntime's C API that run_policy.cpp calls, for a library that came without its header, as in the
// wheel that pip installs. With onnxruntime's released package its own header of this name is taken instead.
//
// onnxruntime only ever appends to its table of functions: what stands at a place stays there, from version 1.16
// (table 16) on at the latest. The places are counted here, and the table's version is asked for at run time.
#pragma once

#include <cstddef>
#include <cstdint>

#define ORT_API_VERSION 16

struct OrtEnv;
struct OrtStatus;
struct OrtMemoryInfo;
struct OrtSession;
struct OrtValue;
struct OrtRunOptions;
struct OrtTensorTypeAndShapeInfo;
struct OrtSessionOptions;
struct OrtModelMetadata;
struct OrtAllocator;

enum OrtLoggingLevel { ORT_LOGGING_LEVEL_FATAL = 4 };
enum OrtAllocatorType { OrtArenaAllocator = 1 };
enum OrtMemType { OrtMemTypeDefault = 0 };
enum ONNXTensorElementDataType {
  ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT = 1,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64 = 7,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE = 11,
};

using Unused = void*;

struct OrtApi {
  Unused from_0[2];
  const char* (*GetErrorMessage)(const OrtStatus*);  // 2
  OrtStatus* (*CreateEnv)(OrtLoggingLevel, const char*, OrtEnv**);
  Unused from_4[4];
  OrtStatus* (*CreateSessionFromArray)(const OrtEnv*, const void*, std::size_t, const OrtSessionOptions*, OrtSession**);  // 8
  OrtStatus* (*Run)(OrtSession*, const OrtRunOptions*, const char* const*, const OrtValue* const*, std::size_t,
                    const char* const*, std::size_t, OrtValue**);
  OrtStatus* (*CreateSessionOptions)(OrtSessionOptions**);
  Unused from_11[13];
  OrtStatus* (*SetIntraOpNumThreads)(OrtSessionOptions*, int);  // 24
  Unused from_25[5];
  OrtStatus* (*SessionGetInputCount)(const OrtSession*, std::size_t*);  // 30
  OrtStatus* (*SessionGetOutputCount)(const OrtSession*, std::size_t*);
  OrtStatus* (*SessionGetOverridableInitializerCount)(const OrtSession*, std::size_t*);
  Unused from_33[3];
  OrtStatus* (*SessionGetInputName)(const OrtSession*, std::size_t, OrtAllocator*, char**);  // 36
  OrtStatus* (*SessionGetOutputName)(const OrtSession*, std::size_t, OrtAllocator*, char**);
  OrtStatus* (*SessionGetOverridableInitializerName)(const OrtSession*, std::size_t, OrtAllocator*, char**);
  Unused from_39[10];
  OrtStatus* (*CreateTensorWithDataAsOrtValue)(const OrtMemoryInfo*, void*, std::size_t, const std::int64_t*, std::size_t,
                                               ONNXTensorElementDataType, OrtValue**);  // 49
  Unused from_50[1];
  OrtStatus* (*GetTensorMutableData)(OrtValue*, void**);  // 51
  Unused from_52[8];
  OrtStatus* (*GetTensorElementType)(const OrtTensorTypeAndShapeInfo*, ONNXTensorElementDataType*);  // 60
  OrtStatus* (*GetDimensionsCount)(const OrtTensorTypeAndShapeInfo*, std::size_t*);
  OrtStatus* (*GetDimensions)(const OrtTensorTypeAndShapeInfo*, std::int64_t*, std::size_t);
  Unused from_63[2];
  OrtStatus* (*GetTensorTypeAndShape)(const OrtValue*, OrtTensorTypeAndShapeInfo**);  // 65
  Unused from_66[3];
  OrtStatus* (*CreateCpuMemoryInfo)(OrtAllocatorType, OrtMemType, OrtMemoryInfo**);  // 69
  Unused from_70[6];
  OrtStatus* (*AllocatorFree)(OrtAllocator*, void*);  // 76
  Unused from_77[1];
  OrtStatus* (*GetAllocatorWithDefaultOptions)(OrtAllocator**);  // 78
  Unused from_79[13];
  void (*ReleaseEnv)(OrtEnv*);  // 92
  void (*ReleaseStatus)(OrtStatus*);
  void (*ReleaseMemoryInfo)(OrtMemoryInfo*);
  void (*ReleaseSession)(OrtSession*);
  void (*ReleaseValue)(OrtValue*);
  Unused from_97[2];
  void (*ReleaseTensorTypeAndShapeInfo)(OrtTensorTypeAndShapeInfo*);  // 99
  void (*ReleaseSessionOptions)(OrtSessionOptions*);
  Unused from_101[10];
  OrtStatus* (*SessionGetModelMetadata)(const OrtSession*, OrtModelMetadata**);  // 111
  Unused from_112[4];
  OrtStatus* (*ModelMetadataLookupCustomMetadataMap)(const OrtModelMetadata*, OrtAllocator*, const char*, char**);  // 116
  Unused from_117[1];
  void (*ReleaseModelMetadata)(OrtModelMetadata*);  // 118
  Unused from_119[11];
  OrtStatus* (*AddSessionConfigEntry)(OrtSessionOptions*, const char*, const char*);  // 130
};

struct OrtApiBase {
  const OrtApi* (*GetApi)(std::uint32_t version);
  const char* (*GetVersionString)();
};

extern "C" const OrtApiBase* OrtGetApiBase();
